"""match on a device: over a whole tree at once.

`core.acceptance.rules.match` is its form on the host; a test holds the steps of both equal.
"""

from typing import NamedTuple

import torch

from core.acceptance.device import DeviceState, Verdict
from core.acceptance.sampling import KeyedNoise, log_probs_under
from core.acceptance.sampling_config import SamplingConfig
from core.backends.logits import are_usable
from core.trees.tensors import TreeRows, ancestors


class _Draws(NamedTuple):
    token_ids: torch.Tensor  # [rows]
    """The target's token after every node."""
    highest: torch.Tensor  # [rows]
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
        self._noise = None if sampling.is_greedy else KeyedNoise(sampling.seed, vocab_size, device)
        self._end_token_ids = torch.tensor(sorted(end_token_ids), dtype=torch.int64, device=device)

    def _draws(
        self,
        logits: torch.Tensor,  # [rows, vocab] float32
        tree: TreeRows,
        state: DeviceState,
        depth: int,
    ) -> _Draws:
        if self._noise is None:
            nothing = logits.new_empty(0)
            token_ids = logits.argmax(dim=-1)
            highest = logits.gather(1, token_ids[:, None])[:, 0]
            return _Draws(token_ids, highest, nothing, nothing)
        positions = state.length + 1 + torch.arange(depth + 1, device=logits.device)
        log_noise = self._noise.rows(positions).log_()  # [depth + 1, vocab]
        log_probs = log_probs_under(logits, self._sampling)
        best, token_ids = (log_probs - log_noise[tree.depths]).max(dim=-1)
        parents = tree.parents
        return _Draws(
            token_ids,
            best,
            -log_noise[tree.depths[parents], tree.token_ids],
            best[parents] - log_probs[parents, tree.token_ids],
        )

    def judge(
        self, logits: torch.Tensor, tree: TreeRows, state: DeviceState, depth: int
    ) -> Verdict:
        """See `DeviceRule.judge`."""
        draws, highest, noises, thresholds = self._draws(logits, tree, state, depth)
        usable = are_usable(highest)
        if depth == 0:  # nothing was drafted
            nothing = torch.zeros(1, dtype=torch.int64, device=logits.device)
            return Verdict(nothing, nothing, draws[:1], noises, thresholds, usable[:1])
        rows = tree.parents.shape[0]
        nodes = torch.arange(rows, device=logits.device)
        parents, is_node = tree.parents, nodes < tree.num_nodes
        ends = torch.isin(tree.token_ids, self._end_token_ids) & (nodes > 0)
        is_kept = (tree.token_ids == draws[parents]) & is_node & ~ends[parents]
        is_kept |= nodes == 0
        above = ancestors(parents)
        is_reached = ~(above & ~is_kept[None]).any(dim=1)
        # Of one dimension: an index without any would be read by the host.
        last = torch.where(is_reached, tree.depths, -1).argmax(dim=0, keepdim=True)
        on_path = above.index_select(0, last)[0]
        # Rows off the path are written to a place of their own, which is cut off.
        places = torch.where(on_path, tree.depths, depth + 1)
        path = torch.zeros(depth + 2, dtype=torch.int64, device=logits.device)
        path = path.scatter_(0, places, nodes)[: depth + 1]
        return Verdict(
            path,
            tree.depths.index_select(0, last),
            draws.index_select(0, last),
            noises,
            thresholds,
            (usable | ~is_node).all(dim=0, keepdim=True),
        )
