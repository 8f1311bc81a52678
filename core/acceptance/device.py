"""What all rules on a device share: the state of runs, the verdict over whole trees, and its commit.

Several sequences are judged at once, each over a region of the cache of its own; one sequence has all of
it. A rule's own form for a device is `core.acceptance.rules.NAME_device`, beside that for the host.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch

from core.acceptance.sampling_config import SamplingConfig
from core.backends.cuda.host_buffers import sent
from core.backends.kv_cache import TreeCache
from core.trees.tensors import TreeRows


class SequenceStates(NamedTuple):
    """The sequences of one step, in static buffers, so that captured graphs find them at the same place
    in every step."""

    tokens: torch.Tensor  # [regions * capacity] int64
    """Prompt and output of each; the root of its next tree stands at `length`."""
    length: torch.Tensor  # [sequences] int64
    """Tokens in the target's cache."""
    num_seen: torch.Tensor  # [sequences] int64
    """Tokens in the cache of a drafter that has one of its own."""
    seed_key: torch.Tensor  # [sequences] int64
    """See `core.acceptance.sampling.seed_key`."""
    is_running: torch.Tensor  # [sequences] int64
    """0 in place of a sequence that is not there, so that nothing comes of it."""
    origin: torch.Tensor | None  # [sequences] int64
    """First column of each one's region; None where there is one region."""

    def columns(self, positions: torch.Tensor) -> torch.Tensor:
        """Where some positions of each sequence stand, in caches and among the tokens.

        Given and returned  # [sequences] or [sequences, some]
        """
        if self.origin is None:
            return positions
        return positions + (self.origin if positions.dim() == 1 else self.origin[:, None])

    def roots(self) -> torch.Tensor:
        """The last token of each  # [sequences]."""
        return self.tokens.index_select(0, self.columns(self.length))


class Entry(NamedTuple):
    """A sequence that comes into the state."""

    token_ids: Sequence[int]
    """All but the last are in the target's cache."""
    num_seen: int
    seed_key: int = 0
    region: int = 0


class DeviceState:
    """All sequences that may be side by side, each in a lane."""

    def __init__(self, capacity: int, device: torch.device, num_lanes: int = 1):
        """`capacity` is that of a region. Behind those of several lanes is one for whoever is not
        there."""
        self.capacity = capacity
        self._num_lanes = num_lanes
        self._device = device
        num_regions = num_lanes if num_lanes == 1 else num_lanes + 1
        self._tokens = torch.zeros(capacity * num_regions, dtype=torch.int64, device=device)
        # Length, number of seen tokens, key of the seed, whether it runs, and origin of each lane.
        self._numbers = torch.zeros((5, num_lanes), dtype=torch.int64, device=device)

    @property
    def num_lanes(self) -> int:
        return self._num_lanes

    def first(self, count: int) -> SequenceStates:
        """The sequences in so many lanes."""
        length, num_seen, seed_key, is_running, origin = self._numbers[:, :count].unbind(0)
        own = None if self._num_lanes == 1 else origin
        return SequenceStates(self._tokens, length, num_seen, seed_key, is_running, own)

    def arrange(self, lanes: Sequence[int | Entry | None]) -> None:
        """Puts into each lane what stood in the lane of a number, a sequence that comes, or nobody."""
        kept = [lane if isinstance(lane, int) else -1 for lane in lanes]
        given = []
        for lane in lanes:
            if isinstance(lane, Entry):
                origin = lane.region * self.capacity
                count = len(lane.token_ids)
                self._tokens[origin : origin + count] = sent(lane.token_ids, self._device)
                given.append((count - 1, lane.num_seen, lane.seed_key, 1, origin))
            else:  # nobody has a token as well, for drafters read the state of the last one
                given.append((1, 0, 0, 0, self._num_lanes * self.capacity))
        new, places = sent(given, self._device).T, sent(kept, self._device)
        old = self._numbers.index_select(1, places.clamp(min=0))
        self._numbers[:, : len(lanes)] = torch.where(places >= 0, old, new)


class Verdict(NamedTuple):
    """What became of the trees, on the device."""

    path: torch.Tensor  # [sequences, depth + 1] int64
    """Node at every depth of the accepted path, the root first; 0 behind its end."""
    num_accepted: torch.Tensor  # [sequences] int64
    next_token_id: torch.Tensor  # [sequences] int64
    """The target's own token after the path, also where the path ended the run."""
    noises: torch.Tensor  # [sequences, rows] float32
    """Gumbel noise of every node's token; without sampling no rows, as is the next."""
    thresholds: torch.Tensor  # [sequences, rows] float32
    """What the noise would have had to reach; infinite where the token has no probability."""
    is_usable: torch.Tensor  # [sequences] bool
    """Whether tokens can be chosen by the logits of all nodes (`core.backends.logits`)."""


class DeviceRule(Protocol):
    """Judges whole trees on the device, by one rule."""

    def judge(
        self, logits: torch.Tensor, tree: TreeRows, state: SequenceStates, depth: int
    ) -> Verdict:
        """`depth` is the most that a tree can have  # logits: [sequences * rows, vocab] float32."""
        ...


# Takes the sampling settings, the size of the vocabulary, the ids that end a text, and the device.
# The seeds are those of the sequences.
MakeDeviceRule = Callable[[SamplingConfig, int, frozenset[int], torch.device], DeviceRule]


def commit(
    verdict: Verdict, tree: TreeRows, state: SequenceStates, cache: TreeCache, depth: int
) -> None:
    """Moves the paths' rows into place, in the cache and among the tokens."""
    if depth == 0:
        state.length.add_(state.is_running)
        state.tokens.index_copy_(0, state.columns(state.length), verdict.next_token_id)
        return
    steps = torch.arange(depth + 2, device=state.length.device)
    is_kept = steps[None, :-1] <= verdict.num_accepted[:, None]
    root = state.columns(state.length)[:, None]
    places = root + steps  # the last one is for a token alone
    targets = places[:, :-1]
    sources = torch.where(is_kept, root + verdict.path, targets).flatten()
    targets = targets.flatten()
    for storage in cache.storages():
        to, kept = targets.to(storage.device), sources.to(storage.device)
        storage.index_copy_(4, to, storage.index_select(4, kept))
    if cache.hidden_states is not None:
        states = cache.hidden_states.rows
        states.index_copy_(0, targets, states.index_select(0, sources))
    # The root stands already; behind the path comes the target's own token.
    own = verdict.next_token_id[:, None]
    emitted = torch.where(is_kept, tree.token_ids.gather(1, verdict.path), own)
    emitted = torch.cat([emitted, own], dim=1)
    state.tokens.index_copy_(0, places.flatten(), emitted.flatten())
    state.length.add_((verdict.num_accepted + 1) * state.is_running)
