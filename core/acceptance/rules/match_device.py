"""match on a device: over a whole tree at once.

`core.acceptance.rules.match` is its form on the host; a test holds the steps of both equal.
"""

from typing import NamedTuple

import torch

from core.acceptance.device import SequenceStates, Verdict
from core.acceptance.sampling import KeyedNoise, log_probs_under
from core.acceptance.sampling_config import SamplingConfig
from core.backends.logits import are_usable
from core.trees.tensors import TreeRows, ancestors, flat_places


class _Draws(NamedTuple):
    token_ids: torch.Tensor  # [sequences, rows]
    """The target's token after every node."""
    highest: torch.Tensor  # [sequences, rows]
    """What it was chosen by."""
    noises: torch.Tensor  # as in Verdict
    thresholds: torch.Tensor


class DeviceMatchRule:
    """Draws the target's token after every node and follows the children that are it."""

    def __init__(
        self,
        sampling: SamplingConfig,
        vocab_size: int,
        end_token_ids: frozenset[int],
        device: torch.device,
    ):
        self._sampling = sampling
        # The sequences have seeds of their own.
        self._noise = None if sampling.is_greedy else KeyedNoise(0, vocab_size, device)
        self._end_token_ids = torch.tensor(sorted(end_token_ids), dtype=torch.int64, device=device)

    def _draws(
        self,
        logits: torch.Tensor,  # [sequences * rows, vocab] float32
        tree: TreeRows,
        state: SequenceStates,
        depth: int,
    ) -> _Draws:
        shape = tree.parents.shape
        if self._noise is None:
            nothing = logits.new_empty((shape[0], 0))
            token_ids = logits.argmax(dim=-1, keepdim=True)
            highest = logits.gather(1, token_ids)
            return _Draws(token_ids.view(shape), highest.view(shape), nothing, nothing)
        count = depth + 1
        positions = state.length[:, None] + 1 + torch.arange(count, device=logits.device)
        seed_keys = state.seed_key.repeat_interleave(count)
        log_noise = self._noise.rows(positions.flatten(), seed_keys).log_()
        log_probs = log_probs_under(logits, self._sampling)
        best, drawn = (log_probs - log_noise[flat_places(tree.depths, count)]).max(dim=-1)
        best, token_ids, parents = best.view(shape), tree.token_ids.flatten(), tree.parents
        noises = log_noise[flat_places(tree.depths.gather(1, parents), count), token_ids]
        log_probs = log_probs[flat_places(parents, shape[1]), token_ids]
        return _Draws(
            drawn.view(shape),
            best,
            -noises.view(shape),
            best.gather(1, parents) - log_probs.view(shape),
        )

    def judge(
        self, logits: torch.Tensor, tree: TreeRows, state: SequenceStates, depth: int
    ) -> Verdict:
        """See `DeviceRule.judge`."""
        draws, highest, noises, thresholds = self._draws(logits, tree, state, depth)
        usable = are_usable(highest)
        sequences, rows = tree.parents.shape
        if depth == 0:  # nothing was drafted
            nothing = torch.zeros((sequences, 1), dtype=torch.int64, device=logits.device)
            return Verdict(nothing, nothing[:, 0], draws[:, 0], noises, thresholds, usable[:, 0])
        nodes = torch.arange(rows, device=logits.device)
        parents, is_node = tree.parents, nodes < tree.num_nodes[:, None]
        ends = torch.isin(tree.token_ids, self._end_token_ids) & (nodes > 0)
        is_kept = (tree.token_ids == draws.gather(1, parents)) & is_node & ~ends.gather(1, parents)
        is_kept |= nodes == 0
        above = ancestors(parents).view(sequences, rows, rows)
        is_reached = ~(above & ~is_kept[:, None]).any(dim=2)
        last = torch.where(is_reached, tree.depths, -1).argmax(dim=1, keepdim=True)
        on_path = above.flatten(0, 1).index_select(0, flat_places(last, rows))
        # Rows off the path are written to a place of their own, which is cut off.
        places = torch.where(on_path, tree.depths, depth + 1)
        path = torch.zeros((sequences, depth + 2), dtype=torch.int64, device=logits.device)
        path = path.scatter_(1, places, nodes.expand(sequences, -1))[:, : depth + 1]
        return Verdict(
            path,
            tree.depths.gather(1, last)[:, 0],
            draws.gather(1, last)[:, 0],
            noises,
            thresholds,
            (usable | ~is_node).all(dim=1),
        )
