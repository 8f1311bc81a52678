"""The forward of a block drafter (DFlash, arXiv 2602.06036): a whole block of tokens in one pass.

The target's states never go through its layers: in every layer their keys and values stand in front of
those of the block, made by the layer's own projections. The block is the root and mask tokens, which
all see each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core.backends.cpu.forward import CpuForward
from core.backends.kv_cache import TreeCache
from core.backends.row_block import RowBlock
from core.backends.torch.arithmetic import normalized
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.layer import layer_heads
from core.backends.torch.linear import Linear
from core.backends.torch.weights import LayerStack
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
        rotary: RotaryTable,
        on_cpu: CpuForward | None = None,
    ):
        """`on_cpu` computes the same layers in compiled kernels."""
        super().__init__(shape, weights.stack, rotary)
        self.weights = weights
        self._on_cpu = on_cpu

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
        shape, start = self.shape, cache.length
        end = start + len(hidden_states)
        fused = fused_states(self.weights, hidden_states, shape.norm_eps)
        positions = torch.arange(start, end, device=fused.device)
        rotation = self.rotary.at(positions)
        for layer in self.stack.layers:
            _, keys, values = layer_heads(shape, layer, fused, positions, rotation)
            stored = cache.storage[layer.cache_index, :, 0]  # [2, kv_heads, capacity, head_dim]
            stored[0, :, start:end] = keys.transpose(0, 1)
            stored[1, :, start:end] = values.transpose(0, 1)
        cache.truncate(end)
