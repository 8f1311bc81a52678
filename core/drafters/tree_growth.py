"""Dynamic draft trees of a model drafter (EAGLE-2, Li et al. 2024).

Level by level, the nodes most likely to be reached are expanded; in the end the best nodes over all
levels are kept. A level is only drafted, and a node only kept, where the measured costs say that
it pays.

Trees whose children are sampled, for the rejection rule, are never pruned. Which node is expanded,
and by how many children, is settled before its children are drawn; so, whatever stands elsewhere in
the tree, they are samples without replacement from the drafter's distribution there, which is
all that the rule's proof asks for. Leaving one out for its probability afterwards would favour
probable tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from core.drafters.base import CostOfRows, DraftLimits, ModelDrafter, Outcome
from core.drafters.calibration import Calibration
from core.drafters.pace import Pace
from core.drafters.tree_size import best_size, pays_to_continue
from core.modes.settings import TreeSettings
from core.trees.tree import DraftTree

if TYPE_CHECKING:
    import torch

# What a level's forward makes: logits, or what was recorded of them.
LevelT = TypeVar("LevelT")
ReadT = TypeVar("ReadT", contravariant=True)


class LevelRow(NamedTuple):
    """A node that the drafter's forward computes."""

    token_id: int
    depth: int
    parent_row: int
    """Index among all rows of this draft, in the order in which they were computed; -1 for the
    root."""


# Computes one level of rows: what tells of the tokens after each.
LevelForward = Callable[[list[LevelRow]], LevelT]


class Proposal(NamedTuple):
    """Children for one node, best first, with the drafter's probabilities."""

    token_ids: list[int]
    probs: list[float]
    sampled_probs: torch.Tensor | None = None  # [vocab]
    """The distribution that the children were sampled from; None where they were chosen."""


class DraftRows(NamedTuple):
    """The nodes of a growing tree whose children are chosen, one for each row of logits."""

    positions: list[int]
    """Of the children's tokens."""
    tree: DraftTree
    nodes: list[int]


class Chooser(Protocol[ReadT]):
    """Chooses the children of a level's rows."""

    prob_is_chance: bool
    """Whether a child's probability says how likely it is accepted, before any was judged."""

    def propose(self, level: ReadT, rows: DraftRows, count: int, /) -> list[Proposal]:
        """At most `count` children for each row.

        Raises BadLogitsError for logits by which no token can be chosen.
        """
        ...


class Grower(Protocol):
    """Grows the trees of a drafter with a runner of its own."""

    drafting_s: float
    """What making the last tree cost, by the measured curve."""

    def grow(
        self,
        root_token_id: int,
        position: int,
        limits: DraftLimits,
        cost: CostOfRows | None,
        forward: LevelForward[torch.Tensor],
    ) -> DraftTree:
        """A tree over a root; `position` is that of the token after the root.

        `cost` is the measured cost of the verification; without it the sizes are the settings'.
        """
        ...

    def learn(self, outcome: Outcome) -> None:
        """Learns from a judged tree."""
        ...


@runtime_checkable
class GrowingDrafter(ModelDrafter, Protocol):
    """A drafter whose trees are grown of what its forward says, level by level."""

    grower: Grower
    reads_emitted: bool
    """Whether a draft's first forward has a row for every token of the last step."""


# Of the last level in what choosing children is expected to take.
_RECENT_SHARE = 0.1


class TreeGrower(Generic[LevelT]):
    """Grows the trees of one run and learns from what becomes of them."""

    def __init__(
        self,
        settings: TreeSettings,
        proposer: Chooser[LevelT],
        draft_cost: CostOfRows | None,
        *,
        in_one_pass: bool = False,
        learns_pace: bool = True,
        clock: Callable[[], float] | None = None,
    ):
        """`draft_cost` is the drafter's measured forward; None leaves the sizes to the settings.

        `in_one_pass` tells that the first level's forward computes all levels, a row each. Without
        `learns_pace` forwards are taken to last as they were measured: in a batch they wait for others.
        """
        self.settings = settings
        self.proposer = proposer
        self.draft_cost = draft_cost
        self.in_one_pass = in_one_pass
        self._learns_pace = learns_pace
        # A draft's first forward finds no weights in a cache, and has what the drafter has not read yet.
        self._first_pace, self._later_pace = Pace(), Pace()
        self._clock = clock or time.perf_counter
        self._calibration = Calibration(
            prob_is_chance=proposer.prob_is_chance, expected_rate=settings.expected_rate
        )
        self._latest: Outcome | None = None
        self._choosing_s = 0.0
        self.drafting_s = 0.0
        """What making the last tree cost: forwards by their curve and pace, and the choices."""

    def grow(
        self,
        root_token_id: int,
        position: int,
        limits: DraftLimits,
        cost: CostOfRows | None,
        forward: LevelForward[LevelT],
    ) -> DraftTree:
        """See `Grower.grow`."""
        depth = min(self.settings.depth, limits.depth)
        growth = _Growth(root_token_id, min(self.settings.num_nodes, limits.num_nodes))
        frontier = [0]
        self.drafting_s = 0.0
        for level in range(depth):
            costs = self._level_costs(len(frontier), level, depth)
            if not self._pays(growth, frontier, depth - level, cost, costs):
                break
            start_s = self._clock()
            logits = forward([growth.level_row(node) for node in frontier])
            if level == 0 or not self.in_one_pass:  # the measured curve has it
                computed_s = self._clock()
                if self._learns_pace:
                    self._pace_of(level).learn_time(computed_s - start_s, costs.curve_s)
                start_s = computed_s
            rows = DraftRows([position + level] * len(frontier), growth.tree, frontier)
            proposals = self.proposer.propose(logits, rows, self.settings.branching)
            self.drafting_s += costs.pass_s + costs.level_s
            children = growth.expand(frontier, proposals, self._calibration)
            children.sort(key=lambda node: -growth.reach[node])
            choosing_s = self._clock() - start_s
            self._choosing_s += _RECENT_SHARE * (choosing_s - self._choosing_s)
            frontier = children[: self.settings.branching]
            if not frontier:
                break
        return growth.result(cost if self.draft_cost else None, self.drafting_s)

    def _pays(
        self,
        growth: _Growth,
        frontier: list[int],
        num_levels: int,
        cost: CostOfRows | None,
        costs: _LevelCosts,
    ) -> bool:
        if cost is None or self.draft_cost is None:
            return True
        return pays_to_continue(
            growth.kept_reach(),
            sum(growth.reach[node] for node in frontier),
            self._calibration.best_rate,
            num_levels,
            cost,
            self.drafting_s,
            costs.level_s,
            costs.pass_s,
        )

    def _level_costs(self, num_rows: int, level: int, depth: int) -> _LevelCosts:
        """Of a level of so many rows: its forward, and choosing the children."""
        if self.draft_cost is None:
            return _LevelCosts(0.0, 0.0, 0.0)
        if self.in_one_pass:
            curve_s = 0.0 if level else self.draft_cost(depth)
            return _LevelCosts(self._choosing_s, self._first_pace.value * curve_s, curve_s)
        curve_s = self.draft_cost(num_rows)
        level_s = self._later_pace.value * curve_s
        extra_s = self._pace_of(level).value * curve_s - level_s
        return _LevelCosts(level_s + self._choosing_s, extra_s, curve_s)

    def _pace_of(self, level: int) -> Pace:
        return self._later_pace if level else self._first_pace

    def learn(self, outcome: Outcome) -> None:
        """Learns how good the probabilities of a judged tree were; without one, what is known fades.

        It counts from the tree after the next one on: a device begins the next before this one is
        read, and is to grow the same trees.
        """
        if self._latest is not None:
            self._calibration.learn(self._latest)
        self._latest = outcome
        if not outcome.tree.num_drafted:
            self._first_pace.pass_by()
            self._later_pace.pass_by()


class _LevelCosts(NamedTuple):
    """Expected seconds of drafting."""

    level_s: float
    """Of this level, and of each behind it."""
    pass_s: float
    """Of what comes once, with this level, on top."""
    curve_s: float
    """What the measured curve says of this level's forward; 0 where there is none."""


class _Growth:
    """A tree that may become larger than what is kept of it in the end."""

    def __init__(self, root_token_id: int, num_nodes: int):
        self.tree = DraftTree(root_token_id)
        self.reach = [1.0]
        """For every node, the calibrated chance that it is accepted."""
        self._num_nodes = num_nodes
        self._row_of: dict[int, int] = {}

    def level_row(self, node: int) -> LevelRow:
        """Counts the node as the next computed row."""
        self._row_of[node] = len(self._row_of)
        parent = self.tree.parents[node]
        parent_row = self._row_of[parent] if parent >= 0 else -1
        return LevelRow(self.tree.token_ids[node], self.tree.depths[node], parent_row)

    def expand(
        self, frontier: list[int], proposals: list[Proposal], calibration: Calibration
    ) -> list[int]:
        """Adds the proposed children; returns their indices. Sampled ones are added while all of
        a node's have room."""
        children = []
        for node, proposal in zip(frontier, proposals, strict=True):
            if proposal.sampled_probs is not None:
                if self.tree.num_drafted + len(proposal.token_ids) > self._num_nodes:
                    continue
                self.tree.sampled_probs[node] = proposal.sampled_probs
            self.tree.set_top_k(node, proposal.token_ids, proposal.probs)
            pairs = zip(proposal.token_ids, proposal.probs, strict=True)
            for rank, (token_id, prob) in enumerate(pairs):
                children.append(self.tree.add(node, token_id, prob))
                self.reach.append(self.reach[node] * calibration.chance(prob, rank))
        return children

    def kept_reach(self) -> list[float]:
        """Chances of the nodes that would be kept now, best first."""
        best_first = sorted(self.reach[1:], reverse=True)
        return best_first if self.tree.sampled_probs else best_first[: self._num_nodes]

    def result(self, cost: CostOfRows | None, spent_s: float) -> DraftTree:
        """The best nodes that are connected; all of a sampled tree."""
        if self.tree.sampled_probs:
            return self.tree
        # A child is never more likely than its parent, and stands behind it where they are equal.
        order = sorted(range(1, len(self.tree)), key=lambda node: (-self.reach[node], node))
        order = order[: self._num_nodes]
        if cost is not None:
            order = order[: best_size([self.reach[node] for node in order], cost, spent_s)]
        return self.tree.subtree(order)
