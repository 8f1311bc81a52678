"""The weights of an EAGLE head in the published formats, and their files.

EAGLE-3 (Li et al. 2025): `fc` fuses hidden states of several layers of the target, one decoder
layer reads that beside the next token's embedding, and an `lm_head` of its own has a reduced
vocabulary; `d2t` holds the difference from a draft id to the target's id. EAGLE-1 and -2 (Li et al.
2024): `fc` fuses embedding and last hidden state, and the target's `lm_head` is used.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from core.backends.torch.linear import DenseLinear, Embedding
from core.backends.torch.weights import LayerStack, LayerWeights
from core.drafters.eagle_weights import HeadWeights
from core.errors import DrafterUnavailableError
from core.families.architecture import Architecture
from core.runtime.written_files import save_tensors

PICKLED = ("pytorch_model.bin",)
"""Names of files with tensors that are no safetensors."""


class HeadShape(NamedTuple):
    """Sizes of an EAGLE-3 head."""

    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    draft_vocab_size: int
    vocab_size: int
    num_features: int
    """Hidden states of the target that are fused."""
    norm_eps: float
    rope_theta: float

    @property
    def architecture(self) -> Architecture:
        """What its layer computes."""
        return Architecture(
            num_layers=1,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            vocab_size=self.draft_vocab_size,
            norm_eps=self.norm_eps,
        )


class _Attention(nn.Module):
    def __init__(self, shape: HeadShape):
        super().__init__()
        width = 2 * shape.hidden_size
        self.q_proj = nn.Linear(width, shape.num_heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(width, shape.num_kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(width, shape.num_kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.num_heads * shape.head_dim, shape.hidden_size, bias=False)


class _FeedForward(nn.Module):
    def __init__(self, shape: HeadShape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)


class _Layer(nn.Module):
    def __init__(self, shape: HeadShape):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden_size, shape.norm_eps)
        self.hidden_norm = nn.RMSNorm(shape.hidden_size, shape.norm_eps)
        self.self_attn = _Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden_size, shape.norm_eps)
        self.mlp = _FeedForward(shape)


class EagleHead(nn.Module):
    """Holds parameters under the published names."""

    d2t: torch.Tensor  # [draft_vocab]
    t2d: torch.Tensor  # [vocab] bool

    def __init__(self, shape: HeadShape):
        super().__init__()
        self.shape = shape
        self.fc = nn.Linear(shape.num_features * shape.hidden_size, shape.hidden_size, bias=False)
        self.midlayer = _Layer(shape)
        self.norm = nn.RMSNorm(shape.hidden_size, shape.norm_eps)
        self.lm_head = nn.Linear(shape.hidden_size, shape.draft_vocab_size, bias=False)
        self.register_buffer("d2t", torch.zeros(shape.draft_vocab_size, dtype=torch.int64))
        self.register_buffer("t2d", torch.zeros(shape.vocab_size, dtype=torch.bool))

    def set_vocabulary(self, target_ids: torch.Tensor) -> None:  # [draft_vocab] increasing
        """Says which of the target's ids the head's outputs are."""
        self.d2t.copy_(target_ids - torch.arange(len(target_ids), device=target_ids.device))
        self.t2d.zero_()
        self.t2d[target_ids] = True

    @property
    def target_ids(self) -> torch.Tensor:
        """The target's id of every draft id  # [draft_vocab]."""
        return self.d2t + torch.arange(len(self.d2t), device=self.d2t.device)

    def weights(self, embedding: Embedding, state_layers: tuple[int, ...]) -> HeadWeights:
        """The parameters as they stand, through which gradients flow."""
        layer, attention = self.midlayer, self.midlayer.self_attn
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        gate_up = torch.cat([layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight])
        own = LayerWeights(
            cache_index=0,
            input_norm=layer.input_layernorm.weight,
            qkv=DenseLinear(torch.cat([part.weight for part in projections])),
            q_norm=None,
            k_norm=None,
            o=DenseLinear(attention.o_proj.weight),
            ffn_norm=layer.post_attention_layernorm.weight,
            gate_up=DenseLinear(gate_up),
            down=DenseLinear(layer.mlp.down_proj.weight),
        )
        return HeadWeights(
            stack=LayerStack((own,), embedding, self.norm.weight, DenseLinear(self.lm_head.weight)),
            fuse=DenseLinear(self.fc.weight),
            state_norm=layer.hidden_norm.weight,
            target_ids=self.target_ids,
            state_layers=state_layers,
            hidden_size=self.shape.hidden_size,
            target_size=self.shape.hidden_size,
        )


def head_config(shape: HeadShape, feature_layers: tuple[int, ...]) -> dict[str, Any]:
    """What config.json says of a head, under the published keys."""
    return {
        "architectures": ["LlamaForCausalLMEagle3"],
        "model_type": "llama",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": 1,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "vocab_size": shape.vocab_size,
        "draft_vocab_size": shape.draft_vocab_size,
        "eagle_aux_hidden_state_layer_ids": list(feature_layers),
    }


def default_feature_layers(num_layers: int) -> tuple[int, ...]:
    """Low, middle and high, as published heads fuse them: the states in front of these layers."""
    return (min(2, num_layers), num_layers // 2, max(num_layers - 3, 0))


def write_parts(
    tensors: dict[str, torch.Tensor], folder: Path, metadata: dict[str, str], most_bytes: int
) -> None:
    """Writes safetensors files of at most `most_bytes` each, in the tensors' order."""
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if parts[-1] and size + tensor.nbytes > most_bytes:
            parts.append({})
            size = 0
        parts[-1][name] = tensor.contiguous()
        size += tensor.nbytes
    for old in folder.glob("model*.safetensors"):
        old.unlink()
    for number, part in enumerate(parts, 1):
        name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_tensors(part, folder / name, metadata)


def read_parts(
    folder: Path,
    pickled: Sequence[str] = PICKLED,
    wanted: Callable[[str], bool] = lambda name: True,
) -> dict[str, Any]:
    """The wanted tensors of a folder's safetensors files, or, where it has none of these, of the first
    of the `pickled` files that is there.

    Raises DrafterUnavailableError for files that cannot be read.
    """
    from safetensors import safe_open

    tensors: Any = {}
    paths = sorted(folder.glob("*.safetensors"))
    found = [folder / name for name in pickled if (folder / name).is_file()]
    try:
        for path in paths:
            with safe_open(path, "pt") as file:
                names = list(file.keys())
                tensors.update({name: file.get_tensor(name) for name in names if wanted(name)})
        if not paths and found:
            tensors = torch.load(found[0], map_location="cpu", weights_only=True)
    except Exception as error:  # broken files raise whatever comes
        raise DrafterUnavailableError(
            f"the weights of the drafter in {folder.name} cannot be read "
            f"({type(error).__name__}); give a whole safetensors file, or a {pickled[0]} of "
            "nothing but tensors."
        ) from error
    if not isinstance(tensors, dict):
        return {}
    return {
        name: part
        for name, part in tensors.items()
        if isinstance(part, torch.Tensor) and wanted(name)
    }
