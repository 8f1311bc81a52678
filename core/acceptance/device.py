"""What all rules on a device share: the state of a run, the verdict over a whole tree, and its commit.

A rule's own form for a device is `core.acceptance.rules.NAME_device`, beside that for the host.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch

from core.acceptance.sampling_config import SamplingConfig
from core.backends.kv_cache import TreeCache
from core.trees.tensors import TreeRows


class DeviceState:
    """Static buffers, so that captured graphs find them at the same place in every step."""

    def __init__(self, capacity: int, device: torch.device):
        def number() -> torch.Tensor:
            return torch.zeros(1, dtype=torch.int64, device=device)

        self.tokens = torch.zeros(capacity, dtype=torch.int64, device=device)
        """Prompt and output; the root of the next tree stands at `length`."""
        self.length = number()
        """Tokens in the target's cache."""
        self.num_seen = number()
        """Tokens in the cache of a drafter that has one of its own."""

    def set(self, token_ids: list[int], num_seen: int) -> None:
        """Starts a run: all tokens but the last are in the target's cache."""
        given = torch.tensor(token_ids, dtype=torch.int64)
        self.tokens[: len(token_ids)].copy_(given)
        self.length.fill_(len(token_ids) - 1)
        self.num_seen.fill_(num_seen)


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
    for storage in cache.storages():
        to, kept = places.to(storage.device), sources.to(storage.device)
        storage.index_copy_(4, to, storage.index_select(4, kept))
    if cache.hidden_states is not None:
        states = cache.hidden_states.rows
        states.index_copy_(0, places, states.index_select(0, sources))
    # The root stands already; behind the path comes the target's own token.
    drafted = tree.token_ids[verdict.path]
    emitted = torch.where(is_kept, drafted, verdict.next_token_id)
    emitted = torch.cat([emitted, verdict.next_token_id])
    state.tokens.index_copy_(0, torch.cat([places, places[-1:] + 1]), emitted)
    state.length += verdict.num_accepted + 1
