"""The seam between the loop and a drafter."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from core.modes.settings import MAX_TREE_NODES
from core.trees.tree import DraftTree

if TYPE_CHECKING:
    from core.drafters.device_form import DeviceForm


class DraftLimits(NamedTuple):
    """What a draft may not exceed in this step; the loop sets it from budget and context."""

    num_nodes: int
    depth: int


def limits_of(num_remaining: int) -> DraftLimits:
    """Those of a step where so many tokens remain for the run.

    The target's own token ends every step, so a draft need not be as long as what remains.
    """
    return DraftLimits(num_nodes=MAX_TREE_NODES, depth=num_remaining - 1)


# Seconds of one target forward over so many rows, for the present context length.
CostOfRows = Callable[[int], float]


class Outcome(NamedTuple):
    """What became of a draft; indices are nodes of the tree."""

    tree: DraftTree
    path: list[int]
    tested: list[int]
    emitted_token_ids: list[int]


class Drafter(Protocol):
    """Proposes trees. One run at a time, calls in the order begin, (draft, commit)*, finish."""

    @property
    def name(self) -> str:
        """Who made the last draft, for the trace."""
        ...

    @property
    def identity(self) -> dict[str, Any] | None:
        """What drafts, with its memory in bytes; None for a drafter without weights."""
        ...

    @property
    def device_form(self) -> "DeviceForm | None":
        """How the device drafts for it; None leaves its trees, and so the steps, to the host."""
        ...

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """Starts a run of at most `max_length` tokens; the last prompt token is the first root."""
        ...

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """A tree that continues the committed tokens; the root alone where drafting does not pay.

        `cost` is None where sizes are fixed by the settings.
        """
        ...

    def commit(self, outcome: Outcome) -> None:
        """Learns from a judged tree and takes over the emitted tokens."""
        ...

    def follow(self, token_ids: list[int]) -> None:
        """Takes over the tokens of a step that another drafter drafted."""
        ...

    def finish(self) -> None:
        """Ends the run and frees what belongs to it."""
        ...


class ModelDrafter(Drafter, Protocol):
    """A drafter with weights, whose drafts take time."""

    @property
    def drafting_s(self) -> float:
        """What making the last tree cost, by the measured curve; 0 where none was measured."""
        ...
