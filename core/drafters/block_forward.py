"""The forward of a block drafter (DFlash, arXiv 2602.06036): a whole block of tokens in one pass.

The target's states never go through its layers: in every layer their keys and values stand in front of
those of the block, made by the layer's own projections. The block is the root and mask tokens, which
all see each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from core.backends.cpu.forward import CpuForward
from core.backends.kv_cache import TreeCache
from core.backends.row_block import RowBlock
from core.backends.torch.arithmetic import normalized
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.linear import DenseLinear, Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.drafters.block_heads import ConfidenceHead, MarkovHead
from core.families.architecture import Architecture


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """A block drafter ready to run; `core.drafters.block_loading` makes it of files."""

    stack: LayerStack
    """Its layers and output layer, with the target's embedding."""
    fuse: Linear
    """Hidden states of several layers of the target to one."""
    fused_norm: torch.Tensor  # [hidden]
    target_ids: torch.Tensor | None  # [draft_vocab]
    """The target's id of every output; None where they are the same."""
    state_layers: tuple[int, ...]
    target_size: int
    block_size: int
    from_root: bool
    """See `core.drafters.block_description.BlockDescription`."""
    mask_token_id: int
    markov: MarkovHead | None = None
    confidence: ConfidenceHead | None = None
    num_bytes: int = 0
    """Memory of what the drafter has of its own."""

    @property
    def reads_states(self) -> bool:
        """Whether something behind the layers reads what they make, beside the output layer."""
        return self.markov is not None and self.markov.joint is not None

    @property
    def num_drafts(self) -> int:
        """Tokens that a pass drafts."""
        return self.block_size if self.from_root else self.block_size - 1


def context_of(layers: Sequence[LayerWeights], num_queries: int) -> DenseLinear:
    """The fused state to keys and values of all layers, one layer after the other: of each the rows
    behind its `num_queries`."""
    linears = [layer.qkv for layer in layers if isinstance(layer.qkv, DenseLinear)]
    assert len(linears) == len(layers), "they are as they were read"
    biases = [linear.bias[num_queries:] for linear in linears if linear.bias is not None]
    weight = torch.cat([linear.weight[num_queries:] for linear in linears])
    return DenseLinear(weight, torch.cat(biases) if biases else None)


def fused_states(
    weights: BlockWeights,
    hidden_states: torch.Tensor,  # [rows, num_state_layers * target_hidden]
    eps: float,
) -> torch.Tensor:
    """The target's states as every layer reads them  # [rows, hidden]."""
    return normalized(weights.fuse(hidden_states), weights.fused_norm, eps)


class BlockForward(TorchForward):
    """Implements `core.backends.runner.TargetForward` over rows of a block."""

    name = "block"

    def __init__(
        self,
        shape: Architecture,
        weights: BlockWeights,
        context: Linear,
        rotary: RotaryTable,
        on_cpu: CpuForward | None = None,
    ):
        """`context` is what `context_of` makes; `on_cpu` computes the layers in compiled kernels."""
        super().__init__(shape, weights.stack, rotary)
        self.weights = weights
        self._context = context
        self._on_cpu = on_cpu
        norms = [layer.k_norm for layer in weights.stack.layers if layer.k_norm is not None]
        self._key_norms = torch.stack(norms)[:, None]  # [layers, 1, head_dim]

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """See `TargetForward`."""
        if self._on_cpu is not None:
            return self._on_cpu(blocks, want_logits=want_logits)
        return super().__call__(blocks, want_logits=want_logits)

    @torch.inference_mode()
    def write_context(
        self,
        cache: TreeCache,
        hidden_states: torch.Tensor,  # [rows, num_state_layers * target_hidden]
    ) -> None:
        """Adds committed rows to a cache: the target's states, as each layer's keys and values."""
        start, end = cache.length, cache.length + len(hidden_states)
        places = torch.arange(start, end, device=hidden_states.device)
        self.write_at(cache, hidden_states, places, places)
        cache.truncate(end)

    def write_at(
        self,
        cache: TreeCache,
        hidden_states: torch.Tensor,  # [rows, num_state_layers * target_hidden]
        positions: torch.Tensor,  # [rows]
        columns: torch.Tensor,  # [rows]
    ) -> None:
        """Writes the target's states at these positions into columns of a cache, whose length is left to
        others."""
        shape = self.shape
        fused = fused_states(self.weights, hidden_states, shape.norm_eps)
        made = self._context(fused)
        made = made.view(len(fused), shape.num_layers, 2, shape.num_kv_heads, shape.head_dim)
        keys, values = made.unbind(2)  # [rows, layers, kv_heads, head_dim]
        keys = F.rms_norm(keys, keys.shape[-1:], eps=shape.norm_eps) * self._key_norms
        # All layers turn alike  # [rows, 1, 1, head_dim]
        cos, sin = (table[0][:, None] for table in self.rotary.at(positions))
        keys = torch.addcmul(keys * cos, keys.roll(shape.head_dim // 2, dims=-1), sin)
        layers = cache.storage[: shape.num_layers]
        for which, rows in enumerate((keys, values)):
            layers[:, which, 0].index_copy_(2, columns, rows.permute(1, 2, 0, 3))
