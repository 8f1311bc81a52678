"""The drafters' forwards on the device: the root with what is new to the drafter, then levels.

Three kinds of drafters differ in whose cache they write, and from which column on.
"""

from typing import Protocol

import torch

from core.acceptance.device import DeviceState
from core.backends.cuda.attention import Rows
from core.backends.cuda.forward import DeviceForward
from core.backends.kv_cache import TreeCache
from core.drafters.eagle_forward import EagleForward
from core.drafters.tree_growth_device import LevelRows


class DeviceDrafter(Protocol):
    """Implements `core.drafters.tree_growth_device.DraftLevels` in every step of a run."""

    num_root_rows: int
    """Most rows that `root` and `catch_up` compute at once."""

    def num_unseen(self, length: int, num_seen: int) -> int:
        """Rows that `root` has to compute, for so many tokens in the target's cache."""
        ...

    def catch_up(self) -> None:
        """Computes the first rows of the unseen ones, as many as `root` takes at once."""
        ...

    def root(self) -> torch.Tensor:
        """See `DraftLevels.root`; afterwards nothing is unseen."""
        ...

    def level(self, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        ...


class SharedCacheDrafter:
    """A cheaper self of the target, on the target's own cache: Share-SD and layer skipping."""

    num_root_rows = 1

    def __init__(self, forward: DeviceForward, state: DeviceState):
        self._forward = forward
        self._state = state
        self._sees_itself = torch.ones((1, 1), dtype=torch.bool, device=state.length.device)

    def num_unseen(self, length: int, num_seen: int) -> int:
        """See `DeviceDrafter.num_unseen`: the root alone."""
        return 1

    def catch_up(self) -> None:
        """See `DeviceDrafter.catch_up`; the target's verification has done it."""

    def root(self) -> torch.Tensor:
        """See `DraftLevels.root`."""
        length = self._state.length
        token_ids = self._state.tokens.index_select(0, length)
        rows = Rows(token_ids, length, length, length, self._sees_itself, length)
        logits, _ = self._forward(rows)
        assert logits is not None
        return logits

    def level(self, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        logits, _ = self._forward(level_rows(rows, self._state.length, self._state.length + 1))
        assert logits is not None
        return logits


def level_rows(
    rows: LevelRows,
    root_position: torch.Tensor,  # [1]
    start: torch.Tensor,  # [1]
) -> Rows:
    """Rows of a level, written from the column `start` on behind those of the levels before."""
    width = rows.token_ids.shape[0]
    places = torch.arange(rows.first_row + width, device=start.device)
    return Rows(
        token_ids=rows.token_ids,
        positions=(root_position + rows.level).expand(width).contiguous(),
        slots=start + places[rows.first_row :],
        start=start,
        tree=rows.above[:, : rows.first_row + width].contiguous(),
        tree_positions=root_position + 1 + places // width,  # every level is as wide
    )


class OwnCacheDrafter:
    """A smaller model with a cache of its own: classic speculation."""

    def __init__(self, forward: DeviceForward, state: DeviceState, num_root_rows: int):
        """`root` computes `num_root_rows` rows, most of which may stand for nothing."""
        self.num_root_rows = num_root_rows
        self._forward = forward
        self._state = state
        device = state.length.device
        self._steps = torch.arange(num_root_rows, device=device)
        self._causal = torch.ones(
            (num_root_rows, num_root_rows), dtype=torch.bool, device=device
        ).tril()

    def num_unseen(self, length: int, num_seen: int) -> int:
        """See `DeviceDrafter.num_unseen`: all tokens with the root."""
        return length + 1 - num_seen

    def catch_up(self) -> None:
        """See `DeviceDrafter.catch_up`."""
        self._forward(self._unseen(), want_logits=False)
        self._state.num_seen += len(self._steps)

    def root(self) -> torch.Tensor:
        """See `DraftLevels.root`."""
        state = self._state
        logits, _ = self._forward(self._unseen(), selected=state.length - state.num_seen)
        assert logits is not None
        state.num_seen.copy_(state.length + 1)
        return logits

    def _unseen(self) -> Rows:
        places = self._state.num_seen + self._steps
        token_ids = self._state.tokens.index_select(0, places)
        return Rows(token_ids, places, places, self._state.num_seen.clone(), self._causal, places)

    def level(self, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        logits, _ = self._forward(level_rows(rows, self._state.length, self._state.length + 1))
        assert logits is not None
        return logits


class EagleLevels:
    """An EAGLE-3 head, whose rows are the target's states beside the tokens that follow them."""

    def __init__(
        self,
        forward: DeviceForward,
        head: EagleForward,
        target_cache: TreeCache,
        state: DeviceState,
        num_root_rows: int,
    ):
        """See `OwnCacheDrafter`."""
        self.num_root_rows = num_root_rows
        self._forward = forward
        self._head = head
        self._target_cache = target_cache
        self._state = state
        device = state.length.device
        self._steps = torch.arange(num_root_rows, device=device)
        self._causal = torch.ones(
            (num_root_rows, num_root_rows), dtype=torch.bool, device=device
        ).tril()
        self._made = torch.empty(0)  # [rows of the last level, hidden]

    def num_unseen(self, length: int, num_seen: int) -> int:
        """See `DeviceDrafter.num_unseen`: a row for every state in the target's cache."""
        return length - num_seen

    def catch_up(self) -> None:
        """See `DeviceDrafter.catch_up`."""
        rows, given = self._unseen()
        self._forward(rows, given=given, want_logits=False)
        self._state.num_seen += len(self._steps)

    def root(self) -> torch.Tensor:
        """See `DraftLevels.root`."""
        state = self._state
        rows, given = self._unseen()
        last = state.length - 1 - state.num_seen
        logits, made = self._forward(rows, given=given, selected=last)
        assert logits is not None
        self._made = made.index_select(0, last)
        state.num_seen.copy_(state.length)
        return logits

    def _unseen(self) -> tuple[Rows, torch.Tensor]:
        places = self._state.num_seen + self._steps
        states = self._target_cache.hidden_states
        assert states is not None, "the target's cache keeps them"
        token_ids = self._state.tokens.index_select(0, places + 1)
        start = self._state.num_seen.clone()
        rows = Rows(token_ids, places, places, start, self._causal, places)
        return rows, self._head.fused(
            states.of(self._head.weights.state_layers, states.rows.index_select(0, places))
        )

    def level(self, rows: LevelRows) -> torch.Tensor:
        """See `DraftLevels.level`."""
        length = self._state.length
        given = self._made.index_select(0, rows.parent_places)
        logits, self._made = self._forward(level_rows(rows, length - 1, length), given=given)
        assert logits is not None
        return logits
