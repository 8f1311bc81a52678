"""The match rule over a whole tree at once, and the commit of its path.

`core.acceptance.rules.match` is its form on the host.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch

from core.acceptance.device_state import DeviceState
from core.acceptance.sampling import KeyedNoise, log_probs_under
from core.acceptance.sampling_config import SamplingConfig
from core.backends.kv_cache import TreeCache
from core.backends.logits import are_usable
from core.trees.tensors import TreeRows, ancestors


class Verdict(NamedTuple):
    """What became of a tree, on the device."""

    path: torch.Tensor  # [depth + 1] int64
    """Node at every depth of the accepted path, the root first; 0 behind its end."""
    num_accepted: torch.Tensor  # [1] int64
    next_token_id: torch.Tensor  # [1] int64
    """The target's own token after the path, also where the path ended the run."""
    noises: torch.Tensor  # [rows] float32
    """Gumbel noise of every node's token; without sampling empty, as is the next."""
    thresholds: torch.Tensor  # [rows] float32
    """What the noise would have had to reach; infinite where the token has no probability."""
    is_usable: torch.Tensor  # [1] bool
    """Whether tokens can be chosen by the logits of all nodes (`core.backends.logits`)."""


class DeviceRule(Protocol):
    """Judges whole trees on the device, by one rule."""

    def judge(
        self, logits: torch.Tensor, tree: TreeRows, state: DeviceState, depth: int
    ) -> Verdict:
        """`depth` is the most that the tree can have  # logits: [rows, vocab] float32."""
        ...


# Takes the sampling settings, the size of the vocabulary, the ids that end a text, and the device.
MakeDeviceRule = Callable[[SamplingConfig, int, frozenset[int], torch.device], DeviceRule]


class _Draws(NamedTuple):
    token_ids: torch.Tensor  # [rows]
    """The target's token after every node."""
    highest: torch.Tensor  # [rows]
    """What it was chosen by."""
    noises: torch.Tensor  # as in Verdict
    thresholds: torch.Tensor


class MatchVerdict:
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


def commit(
    verdict: Verdict, tree: TreeRows, state: DeviceState, cache: TreeCache, depth: int
) -> None:
    """Moves the path's rows into place, in the cache and among the tokens."""
    if depth == 0:
        state.length += 1
        state.tokens.index_copy_(0, state.length, verdict.next_token_id)
        return
    device = state.length.device
    steps = torch.arange(depth + 1, device=device)
    is_kept = steps <= verdict.num_accepted
    places = state.length + steps
    sources = torch.where(is_kept, state.length + verdict.path, places)
    cache.storage.index_copy_(4, places, cache.storage.index_select(4, sources))
    if cache.hidden_states is not None:
        states = cache.hidden_states.rows
        states.index_copy_(0, places, states.index_select(0, sources))
    # The root stands already; behind the path comes the target's own token.
    drafted = tree.token_ids[verdict.path]
    emitted = torch.where(is_kept, drafted, verdict.next_token_id)
    emitted = torch.cat([emitted, verdict.next_token_id])
    state.tokens.index_copy_(0, torch.cat([places, places[-1:] + 1]), emitted)
    state.length += verdict.num_accepted + 1
