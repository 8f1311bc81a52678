"""The drafters' forwards on the device: the roots with what is new to the drafter, then levels.

Three kinds of drafters differ in whose cache they write, and from which column on.
"""

from typing import Protocol

import torch

from core.acceptance.device import SequenceStates
from core.backends.cuda.attention import Rows
from core.backends.cuda.forward import DeviceForward
from core.backends.kv_cache import TreeCache
from core.drafters.eagle_forward import EagleForward
from core.drafters.tree_growth_device import LevelRows
from core.trees.tensors import flat_places


class DeviceDrafter(Protocol):
    """Implements `core.drafters.tree_growth_device.DraftLevels` in every step of some runs."""

    num_root_rows: int
    """Most rows of a sequence that `root` and `catch_up` compute at once."""

    def num_unseen(self, length: int, num_seen: int) -> int:
        """Rows that `root` has to compute, for so many tokens in the target's cache."""
        ...

    def catch_up(self, state: SequenceStates) -> None:
        """Computes the first rows of the unseen ones, as many as `root` takes at once; where that takes
        all of them they stay unseen."""
        ...

    def root(self, state: SequenceStates) -> torch.Tensor:
        """See `DraftLevels.root`; afterwards nothing is unseen."""
        ...

    def level(self, state: SequenceStates, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        ...


class SharedCacheDrafter:
    """A cheaper self of the target, on the target's own cache: Share-SD and layer skipping."""

    num_root_rows = 1

    def __init__(self, forward: DeviceForward):
        self._forward = forward

    def num_unseen(self, length: int, num_seen: int) -> int:
        """See `DeviceDrafter.num_unseen`: the root alone."""
        return 1

    def catch_up(self, state: SequenceStates) -> None:
        """See `DeviceDrafter.catch_up`; the target's verification has done it."""

    def root(self, state: SequenceStates) -> torch.Tensor:
        """See `DraftLevels.root`."""
        length = state.length
        sees_itself = torch.ones((len(length), 1), dtype=torch.bool, device=length.device)
        slots = state.columns(length)
        token_ids = state.tokens.index_select(0, slots)
        rows = Rows(token_ids, length, slots, length, sees_itself, length, state.origin)
        logits, _ = self._forward(rows)
        assert logits is not None
        return logits

    def level(self, state: SequenceStates, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        logits, _ = self._forward(level_rows(state, rows, state.length, state.length + 1))
        assert logits is not None
        return logits


def level_rows(
    state: SequenceStates,
    rows: LevelRows,
    root_position: torch.Tensor,  # [sequences]
    start: torch.Tensor,  # [sequences]
) -> Rows:
    """Rows of a level, written from the column `start` on behind those of the levels before."""
    width = rows.token_ids.shape[1]
    places = torch.arange(rows.first_row + width, device=start.device)
    slots = state.columns(start[:, None] + places[rows.first_row :])
    tree_positions = (root_position + 1)[:, None] + places // width  # every level is as wide
    return Rows(
        token_ids=rows.token_ids.flatten(),
        positions=(root_position + rows.level).repeat_interleave(width),
        slots=slots.flatten(),
        start=start,
        tree=rows.above[:, :, : rows.first_row + width].flatten(0, 1).contiguous(),
        tree_positions=tree_positions.flatten(),
        origin=state.origin,
    )


def repeated(
    numbers: torch.Tensor,  # [sequences, some]
    count: int,
) -> torch.Tensor:
    """Those of each sequence for so many rows of it, and without copying for one alone.

    Returns  # [sequences * count, some]
    """
    return numbers[:, None].expand(-1, count, -1).flatten(0, 1)


class UnseenRows:
    """The rows with which a drafter's own cache catches up, most of which may stand for nothing."""

    def __init__(self, count: int, device: torch.device):
        self._count = count
        self._steps = torch.arange(count, device=device)
        self._causal = torch.ones((count, count), dtype=torch.bool, device=device).tril()

    def positions(self, state: SequenceStates) -> torch.Tensor:
        """Of all rows  # [sequences * count]."""
        return (state.num_seen[:, None] + self._steps).flatten()

    def columns(self, state: SequenceStates) -> torch.Tensor:
        """Where they stand, in the target's cache as in the drafter's  # [sequences * count]."""
        return state.columns(state.num_seen[:, None] + self._steps).flatten()

    def rows(self, state: SequenceStates, token_ids: torch.Tensor) -> Rows:
        """With these tokens  # [sequences * count]."""
        positions, columns = self.positions(state), self.columns(state)
        start, sequences = state.num_seen.clone(), len(state.num_seen)
        causal = self._causal if sequences == 1 else self._causal.repeat(sequences, 1)
        return Rows(token_ids, positions, columns, start, causal, positions, state.origin)

    def row_of(
        self,
        state: SequenceStates,
        position: torch.Tensor,  # [sequences]
    ) -> torch.Tensor:
        """The row of each sequence at a position  # [sequences].

        In the place of a sequence that is not there it may be a row of the one before.
        """
        return flat_places((position - state.num_seen)[:, None], self._count)

    def advance(
        self,
        state: SequenceStates,
        num_unseen: torch.Tensor,  # [sequences]
    ) -> None:
        """Counts them as seen where more than these were not."""
        state.num_seen.add_(self._count * (num_unseen > self._count))


class OwnCacheDrafter:
    """A smaller model with a cache of its own: classic speculation."""

    def __init__(self, forward: DeviceForward, num_root_rows: int, device: torch.device):
        self.num_root_rows = num_root_rows
        self._forward = forward
        self._unseen = UnseenRows(num_root_rows, device)

    def num_unseen(self, length: int, num_seen: int) -> int:
        """See `DeviceDrafter.num_unseen`: all tokens with the root."""
        return length + 1 - num_seen

    def catch_up(self, state: SequenceStates) -> None:
        """See `DeviceDrafter.catch_up`."""
        self._forward(self._unseen_rows(state), want_logits=False)
        self._unseen.advance(state, state.length + 1 - state.num_seen)

    def root(self, state: SequenceStates) -> torch.Tensor:
        """See `DraftLevels.root`."""
        selected = self._unseen.row_of(state, state.length)
        logits, _ = self._forward(self._unseen_rows(state), selected=selected)
        assert logits is not None
        state.num_seen.copy_(state.length + 1)
        return logits

    def _unseen_rows(self, state: SequenceStates) -> Rows:
        return self._unseen.rows(state, state.tokens.index_select(0, self._unseen.columns(state)))

    def level(self, state: SequenceStates, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        logits, _ = self._forward(level_rows(state, rows, state.length, state.length + 1))
        assert logits is not None
        return logits


class EagleLevels:
    """An EAGLE-3 head, whose rows are the target's states beside the tokens that follow them."""

    def __init__(
        self,
        forward: DeviceForward,
        head: EagleForward,
        target_cache: TreeCache,
        num_root_rows: int,
    ):
        """See `OwnCacheDrafter`."""
        self.num_root_rows = num_root_rows
        self._forward = forward
        self._head = head
        self._target_cache = target_cache
        self._unseen = UnseenRows(num_root_rows, target_cache.storage.device)
        self._made = torch.empty(0)  # [rows of the last level, hidden]

    def num_unseen(self, length: int, num_seen: int) -> int:
        """See `DeviceDrafter.num_unseen`: a row for every state in the target's cache."""
        return length - num_seen

    def catch_up(self, state: SequenceStates) -> None:
        """See `DeviceDrafter.catch_up`."""
        rows, given = self._unseen_rows(state)
        self._forward(rows, given=given, want_logits=False)
        self._unseen.advance(state, state.length - state.num_seen)

    def root(self, state: SequenceStates) -> torch.Tensor:
        """See `DraftLevels.root`."""
        rows, given = self._unseen_rows(state)
        last = self._unseen.row_of(state, state.length - 1)
        logits, made = self._forward(rows, given=given, selected=last)
        assert logits is not None
        self._made = made.index_select(0, last)
        state.num_seen.copy_(state.length)
        return logits

    def _unseen_rows(self, state: SequenceStates) -> tuple[Rows, torch.Tensor]:
        columns = self._unseen.columns(state)
        states = self._target_cache.hidden_states
        assert states is not None, "the target's cache keeps them"
        rows = self._unseen.rows(state, state.tokens.index_select(0, columns + 1))
        return rows, self._head.fused(
            states.of(self._head.weights.state_layers, states.rows.index_select(0, columns))
        )

    def level(self, state: SequenceStates, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        length = state.length
        given = self._made.index_select(0, rows.parent_rows)
        logits, self._made = self._forward(level_rows(state, rows, length - 1, length), given=given)
        assert logits is not None
        return logits
