"""The weights of a block drafter in training, under the published names of their files.

They are those of SpecForge's DSpark, with a reduced vocabulary as speculators writes it: `d2t` holds the
difference from a draft id to the target's id, and `markov_head.markov_w2` a row for each draft id. The
output layer is the target's, cut to those ids, so that the file needs none.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from core.backends.torch.linear import DenseLinear, Embedding
from core.backends.torch.weights import LayerStack
from core.drafters.block_description import BlockDescription
from core.drafters.block_forward import BlockWeights
from core.drafters.block_heads import CONFIDENCE, JOINTS, MARKOV, ConfidenceHead, MarkovHead
from core.drafters.head_tensors import plain_name
from core.families.tensors import expected_shapes
from core.loading.weight_loading import Placement, Reader

_WEIGHT_SCALE = 0.02


class BlockSizes(NamedTuple):
    """What config.json says of a drafter that is trained here."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    norm_eps: float
    rope_theta: float
    context_length: int
    num_target_layers: int
    state_layers: tuple[int, ...]
    block_size: int
    mask_token_id: int
    draft_vocab_size: int
    markov_kind: str
    markov_rank: int


def block_config(sizes: BlockSizes) -> dict[str, Any]:
    """config.json of a DSpark drafter, under the published keys."""
    return {
        "architectures": ["DSparkDraftModel"],
        "model_type": "qwen3",
        "hidden_size": sizes.hidden_size,
        "intermediate_size": sizes.intermediate_size,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": sizes.num_heads,
        "num_key_value_heads": sizes.num_kv_heads,
        "head_dim": sizes.head_dim,
        "rms_norm_eps": sizes.norm_eps,
        "rope_theta": sizes.rope_theta,
        "max_position_embeddings": sizes.context_length,
        "vocab_size": sizes.vocab_size,
        "draft_vocab_size": sizes.draft_vocab_size,
        "input_embedding_scale": 1.0,
        "block_size": sizes.block_size,
        "num_target_layers": sizes.num_target_layers,
        "dflash_config": {
            "projector_type": "dspark",
            "mask_token_id": sizes.mask_token_id,
            # Numbers of outputs; the embedding is the one in front of the first layer's.
            "target_layer_ids": [layer - 1 for layer in sizes.state_layers],
            "markov_rank": sizes.markov_rank,
            "markov_head_type": sizes.markov_kind,
            "enable_confidence_head": True,
            "confidence_head_with_markov": sizes.markov_rank > 0,
        },
    }


class BlockModule(nn.Module):
    """Holds the parameters that a description asks for."""

    d2t: torch.Tensor  # [draft_vocab]

    def __init__(self, found: BlockDescription, vocab_size: int, target_size: int):
        super().__init__()
        assert found.draft_vocab_size is not None, "config.json says it"
        self.found = found
        for name, sizes in _shapes(found, vocab_size, target_size).items():
            if len(sizes) == 1:
                made = torch.zeros(sizes) if name.endswith(".bias") else torch.ones(sizes)
            else:
                made = torch.randn(sizes) * _WEIGHT_SCALE
            self._hold(name, nn.Parameter(made))
        self.register_buffer("d2t", torch.zeros(found.draft_vocab_size, dtype=torch.int64))

    def _hold(self, name: str, parameter: nn.Parameter) -> None:
        *path, leaf = name.split(".")
        place: nn.Module = self
        for part in path:
            if part not in place._modules:
                place.add_module(part, nn.Module())
            place = place.get_submodule(part)
        place.register_parameter(leaf, parameter)

    def set_vocabulary(self, target_ids: torch.Tensor) -> None:  # [draft_vocab] increasing
        """Says which of the target's ids the outputs are."""
        self.d2t.copy_(target_ids - torch.arange(len(target_ids), device=target_ids.device))

    @property
    def target_ids(self) -> torch.Tensor:
        """The target's id of every draft id  # [draft_vocab]."""
        return self.d2t + torch.arange(len(self.d2t), device=self.d2t.device)

    def weights(self, embedding: Embedding, head: torch.Tensor) -> BlockWeights:
        """The parameters as they stand, through which gradients flow; `head` are the target's rows of
        the ids that are drafted  # [draft_vocab, hidden]."""
        found, own = self.found, dict(self.named_parameters())
        described = found.described
        layers = {name: own[plain_name(name)] for name in _layer_shapes(found)}
        place = Placement(head.dtype, head.device, None)
        reader = Reader(layers, place._replace(dtype=torch.float32), is_mapped=False)
        stack = LayerStack(
            layers=tuple(
                reader.layer(described, index) for index in range(described.architecture.num_layers)
            ),
            embedding=embedding,
            final_norm=own["norm.weight"],
            head=DenseLinear(head),
        )
        return BlockWeights(
            stack=stack,
            fuse=DenseLinear(own["fc.weight"]),
            fused_norm=own["hidden_norm.weight"],
            target_ids=self.target_ids,
            state_layers=found.state_layers,
            target_size=own["fc.weight"].shape[1] // len(found.state_layers),
            block_size=found.block_size,
            from_root=found.from_root,
            mask_token_id=found.mask_token_id,
            markov=_markov(found, own),
            confidence=ConfidenceHead(
                DenseLinear(own[f"{CONFIDENCE}.weight"], own[f"{CONFIDENCE}.bias"]),
                found.heads.confidence_reads_markov,
            ),
        )


def _markov(found: BlockDescription, own: dict[str, Any]) -> MarkovHead | None:
    kind = found.heads.markov
    if kind is None:
        return None
    joint = None
    if kind in JOINTS:
        name = f"{MARKOV}.{JOINTS[kind][0]}"
        joint = DenseLinear(own[f"{name}.weight"], own[f"{name}.bias"])
    tables = (own[f"{MARKOV}.markov_w{number}.weight"] for number in (1, 2))
    first, second = tables
    return MarkovHead(kind, first, joint, DenseLinear(second))


def _layer_shapes(found: BlockDescription) -> dict[str, tuple[int, ...]]:
    shapes = expected_shapes(found.described)
    return {name: sizes for name, sizes in shapes.items() if ".layers." in name}


def _shapes(
    found: BlockDescription, vocab_size: int, target_size: int
) -> dict[str, tuple[int, ...]]:
    """All tensors by their published names."""
    hidden, heads = found.described.hidden_size, found.heads
    assert found.draft_vocab_size is not None, "config.json says it"
    shapes = {plain_name(name): sizes for name, sizes in _layer_shapes(found).items()}
    shapes |= {
        "fc.weight": (hidden, len(found.state_layers) * target_size),
        "hidden_norm.weight": (hidden,),
        "norm.weight": (hidden,),
    }
    rank = heads.markov_rank
    if heads.markov is not None:
        shapes |= {
            f"{MARKOV}.markov_w1.weight": (vocab_size, rank),
            f"{MARKOV}.markov_w2.weight": (found.draft_vocab_size, rank),
        }
    if heads.markov in JOINTS:
        name, made, read = JOINTS[heads.markov]
        shapes[f"{MARKOV}.{name}.weight"] = (made * rank, hidden + read * rank)
        shapes[f"{MARKOV}.{name}.bias"] = (made * rank,)
    width = hidden + (rank if heads.confidence_reads_markov else 0)
    shapes |= {f"{CONFIDENCE}.weight": (1, width), f"{CONFIDENCE}.bias": (1,)}
    return shapes
