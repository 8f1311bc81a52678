"""Shape-invariant execution: the arithmetic of a row does not depend on its neighbours.

A matrix product may round a row otherwise when more rows are computed with it, so that a draft of
the very same model can differ from its verification in the last bit. Here every forward, plain
decoding and prompts included, has one fixed number of rows over a cache of fixed length, and
attention's sums are exact (`core.backends.torch.exact_attention`): the same tokens at the same
positions give the same bits, in a chain, in a tree, or alone.
"""

from collections.abc import Sequence

import torch

from core.backends.kv_cache import TreeCache
from core.backends.row_block import RowBlock, check_token_ids
from core.backends.runner import ModelRunner, TargetForward, compute_at_once
from core.backends.torch.forward import TorchForward
from core.backends.torch.parallel import ParallelForward
from core.errors import DrafterUnavailableError

ROWS_PER_FORWARD = 16
# Caches have a multiple of so many columns, whatever the run asks for.
_CAPACITY_STEP = 1024


class InvariantRunner(ModelRunner):
    """A ModelRunner that pads and splits what it computes to forwards of one shape."""

    def _new_cache(self, capacity: int) -> TreeCache:
        """Room for the padding of the last forward."""
        steps = -(-(capacity + ROWS_PER_FORWARD) // _CAPACITY_STEP)
        return super()._new_cache(steps * _CAPACITY_STEP)

    def forward_rows(
        self,
        token_ids: Sequence[int],
        positions: Sequence[int],
        allowed: torch.Tensor | None,  # [rows, window] bool
        *,
        forward: TargetForward | None = None,
        want_logits: bool = True,
    ) -> torch.Tensor | None:
        """See `ModelRunner.forward_rows`. Rows must stand behind the rows that they attend to."""
        cache, rows, forward = self.cache, len(token_ids), forward or self.forward
        check_token_ids(token_ids, forward.num_token_ids)
        write_start = cache.write_start
        if allowed is None:
            allowed = torch.ones(rows, rows, dtype=torch.bool).tril()
        window_start = write_start + rows - allowed.shape[1]
        hidden = torch.finfo(self.dtype).min
        pieces = []
        for start in range(0, rows, ROWS_PER_FORWARD):
            part = slice(start, min(start + ROWS_PER_FORWARD, rows))
            count = part.stop - part.start
            padding = [0] * (ROWS_PER_FORWARD - count)
            mask = torch.full((ROWS_PER_FORWARD, cache.capacity), hidden, dtype=self.dtype)
            mask[:, :window_start] = 0.0
            window = mask[:count, window_start : window_start + allowed.shape[1]]
            window.masked_fill_(allowed[part], 0.0)
            cache.write_start = write_start + start
            block = RowBlock(
                torch.tensor([*token_ids[part], *padding], device=self.device),
                torch.tensor([*positions[part], *padding], device=self.device),
                cache,
                mask.to(self.device),
            )
            # Never together with other sequences: that would be another shape.
            logits = compute_at_once(forward, block, want_logits=want_logits)
            if logits is not None:
                pieces.append(logits[:count])
        cache.write_start = write_start
        return torch.cat(pieces) if want_logits else None


def invariant_sibling(runner: ModelRunner) -> InvariantRunner:
    """Shape-invariant execution of a runner's weights, with a cache of its own.

    Raises DrafterUnavailableError where our own forward cannot compute the model.
    """
    if isinstance(runner.forward, ParallelForward):
        raise DrafterUnavailableError(
            "shape-invariant execution is for one GPU; leave --invariant or --tensor-parallel out."
        )
    if not isinstance(runner.forward, TorchForward):
        raise DrafterUnavailableError(
            "shape-invariant execution needs our own forward, which cannot compute this model; "
            "leave --invariant out, or give a Llama-, Qwen- or Mistral-shaped model."
        )
    return InvariantRunner(
        runner.forward.with_exact_sums(),
        runner.shape,
        runner.context_limit,
        runner.dtype,
        runner.device,
    )
