"""Dynamic draft trees of a model drafter (EAGLE-2, Li et al. 2024).

Level by level, the nodes most likely to be reached are expanded; in the end the best nodes over all
levels are kept. A level is only drafted, and a node only kept, where the measured costs say that
it pays.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from core.config import TreeSettings
from core.drafters.base import CostOfRows, DraftLimits
from core.drafters.calibration import Calibration
from core.drafters.proposals import Proposal, Proposer
from core.runtime.tree_size import best_size, pays_to_continue
from core.tree import DraftTree


class LevelRow(NamedTuple):
    """A node that the drafter's forward computes."""

    token_id: int
    depth: int
    parent_row: int
    """Index among all rows of this draft, in the order in which they were computed; -1 for the
    root."""


# Computes one level of rows: logits after each  # [rows, vocab] float32.
LevelForward = Callable[[list[LevelRow]], torch.Tensor]


class DraftCosts(NamedTuple):
    """Measured seconds of a forward over so many rows."""

    verify: CostOfRows
    draft: CostOfRows


class TreeGrower:
    """Grows trees for one run."""

    def __init__(self, settings: TreeSettings, proposer: Proposer, calibration: Calibration):
        self._settings = settings
        self._proposer = proposer
        self._calibration = calibration

    def grow(
        self,
        root_token_id: int,
        position: int,
        limits: DraftLimits,
        costs: DraftCosts | None,
        forward: LevelForward,
    ) -> DraftTree:
        """A tree over a root; `position` is that of the token after the root.

        Without `costs` the sizes are those of the settings.
        """
        depth = min(self._settings.depth, limits.depth)
        growth = _Growth(root_token_id, min(self._settings.num_nodes, limits.num_nodes))
        frontier = [0]
        spent_s = 0.0
        for level in range(depth):
            if costs is not None and not self._pays(growth, frontier, costs, spent_s):
                break
            logits = forward([growth.level_row(node) for node in frontier])
            positions = [position + level] * len(frontier)
            proposals = self._proposer.propose(logits, positions, self._settings.branching)
            if costs is not None:
                spent_s += costs.draft(len(frontier))
            children = growth.expand(frontier, proposals, self._calibration)
            children.sort(key=lambda node: -growth.reach[node])
            frontier = children[: self._settings.branching]
            if growth.is_full:
                break
        return growth.result(costs, spent_s)

    def _pays(
        self, growth: "_Growth", frontier: list[int], costs: DraftCosts, spent_s: float
    ) -> bool:
        hit_rate = self._calibration.best_rate
        return pays_to_continue(
            sorted(growth.reach[1:], reverse=True)[: growth.num_nodes],
            sum(growth.reach[node] for node in frontier) * hit_rate,
            costs.verify,
            spent_s,
            costs.draft(len(frontier)),
        )


class _Growth:
    """A tree that may become larger than what is kept of it in the end."""

    def __init__(self, root_token_id: int, num_nodes: int):
        self.tree = DraftTree(root_token_id)
        self.num_nodes = num_nodes
        self.reach = [1.0]
        """For every node, the calibrated chance that it is accepted."""
        self._row_of: dict[int, int] = {}

    def level_row(self, node: int) -> LevelRow:
        """Counts the node as the next computed row."""
        self._row_of[node] = len(self._row_of)
        parent = self.tree.parents[node]
        parent_row = self._row_of[parent] if parent >= 0 else -1
        return LevelRow(self.tree.token_ids[node], self.tree.depths[node], parent_row)

    @property
    def is_full(self) -> bool:
        """Sampled trees may not be pruned, for what was sampled must be judged."""
        return bool(self.tree.sampled_laws) and self.tree.num_drafted >= self.num_nodes

    def expand(
        self, frontier: list[int], proposals: list[Proposal], calibration: Calibration
    ) -> list[int]:
        """Adds the proposed children; returns their indices."""
        children = []
        for node, proposal in zip(frontier, proposals, strict=True):
            is_sampled = proposal.sampled_law is not None
            if is_sampled and self.tree.num_drafted + len(proposal.token_ids) > self.num_nodes:
                continue
            if proposal.sampled_law is not None:
                self.tree.sampled_laws[node] = proposal.sampled_law
            self.tree.set_top_k(node, proposal.token_ids, proposal.probs)
            pairs = zip(proposal.token_ids, proposal.probs, strict=True)
            for rank, (token_id, prob) in enumerate(pairs):
                children.append(self.tree.add(node, token_id, prob))
                self.reach.append(self.reach[node] * calibration.chance(prob, rank))
        return children

    def result(self, costs: DraftCosts | None, spent_s: float) -> DraftTree:
        """The best nodes that are connected; all of a sampled tree."""
        if self.tree.sampled_laws:
            return self.tree
        # A child is never more likely than its parent, and stands behind it where they are equal.
        order = sorted(range(1, len(self.tree)), key=lambda node: (-self.reach[node], node))
        order = order[: self.num_nodes]
        if costs is not None:
            order = order[: best_size([self.reach[n] for n in order], costs.verify, spent_s)]
        return self.tree.subtree(order)
