"""Dynamic draft trees (EAGLE-2, Li et al. 2024) grown on the device, in a fixed number of levels.

`core.drafters.tree_growth` grows the same trees node by node; here a level is one operation, for all
sequences of a step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from core.acceptance.device import SequenceStates
from core.drafters.calibration_device import chances
from core.modes.settings import MAX_TREE_NODES
from core.trees.tensors import Proposals, TreeRows, flat_places

# Logits of some rows of each sequence to ids and probabilities of their children; the level counts
# from 0.
Choose = Callable[[torch.Tensor, int, SequenceStates], tuple[torch.Tensor, torch.Tensor]]


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
    """One level below the roots: `branching` rows of each sequence, behind its levels before."""

    level: int
    first_row: int
    token_ids: torch.Tensor  # [sequences, branching]
    parent_places: torch.Tensor  # [sequences, branching]
    """Places of the parents in the level before, the first of which is the root alone."""
    above: torch.Tensor  # [sequences, branching, num_level_rows] bool
    """Rows of all levels that each row attends to, itself among them."""

    @property
    def parent_rows(self) -> torch.Tensor:
        """The parents among the rows that the level before had of all sequences  # [all rows]."""
        width = self.token_ids.shape[1]
        return flat_places(self.parent_places, 1 if self.level == 1 else width)


class DraftLevels(Protocol):
    """A drafter's forwards of one tree a sequence."""

    def root(self, state: SequenceStates) -> torch.Tensor:
        """Logits after the roots  # [sequences, vocab] float32."""
        ...

    def level(self, state: SequenceStates, rows: LevelRows) -> torch.Tensor:
        """Logits after the rows of a level  # [sequences * branching, vocab] float32."""
        ...


class Frontier(NamedTuple):
    """Nodes that the next level expands, likeliest first."""

    nodes: torch.Tensor  # [sequences, rows]
    """In the pool, where the root is 0 and every level's children follow, row by row."""
    token_ids: torch.Tensor  # [sequences, rows]
    chance: torch.Tensor  # [sequences, rows] float64
    parent_places: torch.Tensor  # [sequences, rows]
    """Places of their parents in the frontier before."""
    above: torch.Tensor  # [sequences, rows, num_level_rows] bool
    """See `LevelRows`."""


class Selected(NamedTuple):
    """What comes of a level's children."""

    reach: torch.Tensor  # [sequences, rows * branching] float64
    """The chance of each that it is accepted."""
    frontier: Frontier


class Select(Protocol):
    """Judges the children of a frontier's nodes by what was learned, and takes the best of them."""

    def __call__(
        self,
        ids: torch.Tensor,  # [sequences * rows, branching]
        probs: torch.Tensor,  # [sequences * rows, branching]
        frontier: Frontier,
        first_row: int,
        num_pool: int,
    ) -> Selected:
        """As many as a row has children. `num_pool` nodes of a tree stand in front of these children,
        and the first of what is taken is the row `first_row` below the root."""
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
        width, (sequences, rows) = ids.shape[1], frontier.nodes.shape
        judged = chances(probs.double(), self.tables, prob_is_chance=self.prob_is_chance)
        reach = (frontier.chance.view(-1, 1) * judged).view(sequences, -1)
        # The order decides between equals.
        best = torch.argsort(reach, dim=1, descending=True, stable=True)[:, :width]
        parent_places = best // width
        itself = first_row + torch.arange(width, device=ids.device)
        columns = torch.arange(frontier.above.shape[2], device=ids.device)
        above = frontier.above.flatten(0, 1).index_select(0, flat_places(parent_places, rows))
        above = above.view(sequences, width, -1) | (columns[None] == itself[:, None])
        token_ids = ids.view(sequences, -1).gather(1, best)
        chance = reach.gather(1, best)
        return Selected(reach, Frontier(num_pool + best, token_ids, chance, parent_places, above))


def grow(
    drafter: DraftLevels,
    choose: Choose,
    select: Select,
    shape: GrowthShape,
    tree: TreeRows,
    state: SequenceStates,
) -> Proposals:
    """Fills `tree`, whose roots stand already; returns what was proposed on the way."""
    width, device, sequences = shape.branching, tree.parents.device, len(tree.parents)
    root = torch.zeros((sequences, 1), dtype=torch.int64, device=device)
    above = torch.zeros((sequences, 1, shape.num_level_rows), dtype=torch.bool, device=device)
    chance = torch.ones((sequences, 1), dtype=torch.float64, device=device)
    frontier = Frontier(root, tree.token_ids[:, :1], chance, root, above)
    found_ids, found_probs, reach, expanded = [], [], [], []
    num_pool = 1
    for level in range(shape.depth):
        if level == 0:
            logits = drafter.root(state)
        else:
            first_row = (level - 1) * width
            rows = LevelRows(
                level, first_row, frontier.token_ids, frontier.parent_places, frontier.above
            )
            logits = drafter.level(state, rows)
        ids, probs = choose(logits, level, state)  # [sequences * rows, width]
        found_ids.append(ids.view(sequences, -1, width))
        found_probs.append(probs.view(sequences, -1, width))
        expanded.append(frontier.nodes)
        reach_of_children, frontier = select(ids, probs, frontier, level * width, num_pool)
        reach.append(reach_of_children)
        num_pool += reach_of_children.shape[1]
    return _keep_best(
        shape,
        tree,
        torch.cat(reach, dim=1),
        torch.cat(expanded, dim=1),
        torch.cat(found_ids, dim=1),
        torch.cat(found_probs, dim=1),
    )


def _keep_best(
    shape: GrowthShape,
    tree: TreeRows,
    reach: torch.Tensor,  # [sequences, pool - 1]
    expanded: torch.Tensor,  # [sequences, 1 + num_level_rows]
    found_ids: torch.Tensor,  # [sequences, 1 + num_level_rows, branching]
    found_probs: torch.Tensor,  # [sequences, 1 + num_level_rows, branching]
) -> Proposals:
    """Writes the best nodes into the tree, each behind its parent."""
    count, device, sequences = shape.num_kept, reach.device, len(reach)
    ranked = torch.argsort(reach, dim=1, descending=True, stable=True)[:, :MAX_TREE_NODES]
    best = ranked[:, :count]  # without the root, which is the pool's first node
    new_index = torch.full((sequences, reach.shape[1] + 1), -1, dtype=torch.int64, device=device)
    new_index[:, 0] = 0
    numbers = torch.arange(1, count + 1, device=device).expand(sequences, -1)
    new_index.scatter_(1, best + 1, numbers)
    parents = expanded.gather(1, best // shape.branching)
    # Among probabilities that are no numbers, parents are not kept with their children.
    parents = new_index.gather(1, parents).clamp(min=0)
    pool_probs = found_probs.view(sequences, -1)
    kept = slice(1, count + 1)
    tree.token_ids[:, kept] = found_ids.view(sequences, -1).gather(1, best)
    tree.probs[:, kept] = pool_probs.gather(1, best)
    tree.parents[:, kept] = parents
    tree.depths[:, kept] = _depths(parents, shape.depth)
    tree.num_nodes.fill_(count + 1)
    return Proposals(
        nodes=new_index.gather(1, expanded),
        proposed_ids=found_ids,
        proposed_probs=found_probs,
        reach=reach.gather(1, ranked).float(),
        are_numbers=pool_probs.isfinite().all(dim=1),
    )


def _depths(parents: torch.Tensor, most: int) -> torch.Tensor:  # [sequences, count]
    """Depths of drafted nodes from their parents  # [sequences, count]."""
    sequences, count = parents.shape
    depths = torch.zeros((sequences, count + 1), dtype=torch.int64, device=parents.device)
    for _ in range(most):
        depths[:, 1:] = depths.gather(1, parents) + 1
    return depths[:, 1:]
