"""Dynamic draft trees (EAGLE-2, Li et al. 2024) grown on the device, in a fixed number of levels.

`core.drafters.tree_growth` grows the same trees node by node; here a level is one operation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from core.drafters.calibration_device import chances
from core.modes.settings import MAX_TREE_NODES
from core.trees.tensors import Proposals, TreeRows

# Logits of some rows to ids and probabilities of their children; the level counts from 0.
Choose = Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]


class GrowthShape(NamedTuple):
    """The sizes that decide a captured graph."""

    depth: int
    branching: int
    num_nodes: int

    @property
    def num_level_rows(self) -> int:
        """Rows that the drafter computes below the root."""
        return (self.depth - 1) * self.branching

    @property
    def num_kept(self) -> int:
        """Drafted nodes of the finished tree."""
        most = self.branching + (self.depth - 1) * self.branching**2
        return min(self.num_nodes, most)


class LevelRows(NamedTuple):
    """One level below the root: `branching` rows behind those of the levels before."""

    level: int
    first_row: int
    token_ids: torch.Tensor  # [branching]
    parent_places: torch.Tensor  # [branching]
    """Places of the parents in the level before, the first of which is the root alone."""
    above: torch.Tensor  # [branching, num_level_rows] bool
    """Rows of all levels that each row attends to, itself among them."""


class DraftLevels(Protocol):
    """A drafter's forwards of one tree."""

    def root(self) -> torch.Tensor:
        """Logits after the root  # [1, vocab] float32."""
        ...

    def level(self, rows: LevelRows) -> torch.Tensor:
        """Logits after the rows of a level  # [branching, vocab] float32."""
        ...


class Frontier(NamedTuple):
    """Nodes that the next level expands, likeliest first."""

    nodes: torch.Tensor  # [rows]
    """In the pool, where the root is 0 and every level's children follow, row by row."""
    token_ids: torch.Tensor  # [rows]
    chance: torch.Tensor  # [rows] float64
    parent_places: torch.Tensor  # [rows]
    """Places of their parents in the frontier before."""
    above: torch.Tensor  # [rows, num_level_rows] bool
    """See `LevelRows`."""


class Selected(NamedTuple):
    """What comes of a level's children."""

    reach: torch.Tensor  # [rows * branching] float64
    """The chance of each that it is accepted."""
    frontier: Frontier


class Select(Protocol):
    """Judges the children of a frontier's nodes by what was learned, and takes the best of them."""

    def __call__(
        self,
        ids: torch.Tensor,  # [rows, branching]
        probs: torch.Tensor,  # [rows, branching]
        frontier: Frontier,
        first_row: int,
        num_pool: int,
    ) -> Selected:
        """As many as a row has children. `num_pool` nodes stand in front of these children, and the
        first of what is taken is the row `first_row` below the root."""
        ...


@dataclass(frozen=True, slots=True)
class TorchSelection:
    """Implements `Select` by torch's operations."""

    tables: torch.Tensor  # [2, ranks, bins] float64
    prob_is_chance: bool

    def __call__(
        self,
        ids: torch.Tensor,
        probs: torch.Tensor,
        frontier: Frontier,
        first_row: int,
        num_pool: int,
    ) -> Selected:
        """See `Select`."""
        width = ids.shape[1]
        judged = chances(probs.double(), self.tables, prob_is_chance=self.prob_is_chance)
        reach = (frontier.chance[:, None] * judged).flatten()
        # The order decides between equals.
        best = torch.argsort(reach, descending=True, stable=True)[:width]
        parent_places = best // width
        itself = first_row + torch.arange(width, device=ids.device)
        columns = torch.arange(frontier.above.shape[1], device=ids.device)
        above = frontier.above.index_select(0, parent_places) | (columns[None] == itself[:, None])
        return Selected(
            reach, Frontier(num_pool + best, ids.flatten()[best], reach[best], parent_places, above)
        )


def grow(
    drafter: DraftLevels, choose: Choose, select: Select, shape: GrowthShape, tree: TreeRows
) -> Proposals:
    """Fills `tree`, whose root stands already; returns what was proposed on the way."""
    width, device = shape.branching, tree.parents.device
    root = torch.zeros(1, dtype=torch.int64, device=device)
    above = torch.zeros((1, shape.num_level_rows), dtype=torch.bool, device=device)
    chance = torch.ones(1, dtype=torch.float64, device=device)
    frontier = Frontier(root, tree.token_ids[:1], chance, root, above)
    found_ids, found_probs, reach, expanded = [], [], [], []
    num_pool = 1
    for level in range(shape.depth):
        if level == 0:
            logits = drafter.root()
        else:
            first_row = (level - 1) * width
            logits = drafter.level(
                LevelRows(
                    level, first_row, frontier.token_ids, frontier.parent_places, frontier.above
                )
            )
        ids, probs = choose(logits, level)  # [rows, width]
        found_ids.append(ids)
        found_probs.append(probs)
        expanded.append(frontier.nodes)
        reach_of_children, frontier = select(ids, probs, frontier, level * width, num_pool)
        reach.append(reach_of_children)
        num_pool += len(reach_of_children)
    nodes = torch.cat(expanded)
    return _keep_best(
        shape, tree, torch.cat(reach), nodes.repeat_interleave(width), found_ids, found_probs, nodes
    )


def _keep_best(
    shape: GrowthShape,
    tree: TreeRows,
    reach: torch.Tensor,  # [pool - 1]
    parents: torch.Tensor,  # [pool - 1]
    found_ids: list[torch.Tensor],
    found_probs: list[torch.Tensor],
    expanded: torch.Tensor,  # [1 + num_level_rows]
) -> Proposals:
    """Writes the best nodes into the tree, each behind its parent."""
    count, device = shape.num_kept, reach.device
    ranked = torch.argsort(reach, descending=True, stable=True)[:MAX_TREE_NODES]
    order = ranked[:count] + 1  # nodes of the pool
    new_index = torch.full((len(reach) + 1,), -1, dtype=torch.int64, device=device)
    kept = torch.cat([torch.zeros_like(order[:1]), order])
    new_index.index_copy_(0, kept, torch.arange(count + 1, device=device))
    pool_ids = torch.cat([ids.flatten() for ids in found_ids])
    pool_probs = torch.cat([probs.flatten() for probs in found_probs])
    kept_parents = new_index[parents[order - 1]]
    tree.token_ids[1 : count + 1] = pool_ids[order - 1]
    tree.probs[1 : count + 1] = pool_probs[order - 1]
    tree.parents[1 : count + 1] = kept_parents
    tree.depths[1 : count + 1] = _depths(kept_parents, shape.depth)
    tree.num_nodes.fill_(count + 1)
    are_numbers = pool_probs.isfinite().all(dim=0, keepdim=True)
    return Proposals(
        nodes=new_index[expanded],
        proposed_ids=torch.cat(found_ids),
        proposed_probs=torch.cat(found_probs),
        reach=reach[ranked].float(),
        are_numbers=are_numbers,
    )


def _depths(parents: torch.Tensor, most: int) -> torch.Tensor:
    """Depths of drafted nodes from their parents  # [count]."""
    depths = torch.zeros(len(parents) + 1, dtype=torch.int64, device=parents.device)
    for _ in range(most):
        depths[1:] = depths[parents] + 1
    return depths[1:]
