"""Dynamic draft trees (EAGLE-2, Li et al. 2024) grown on the device, in a fixed number of levels.

`core.drafters.tree_growth` grows the same trees node by node; here a level is one operation.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch

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
    parent_places: torch.Tensor | None  # [branching]
    """Places of the parents in the level before; None where it is the root."""
    above: torch.Tensor  # [branching, num_level_rows] bool
    """Rows of all levels that each row attends to, itself among them."""


class DraftLevels(Protocol):
    """A drafter's forwards of one tree."""

    def root(self) -> torch.Tensor:
        """Logits after the root  # [1, vocab] float32."""
        ...

    def level(self, rows: LevelRows, shape: GrowthShape) -> torch.Tensor:
        """Logits after the rows of a level  # [branching, vocab] float32."""
        ...


# Probabilities of children, best first in every row, to the chances that they are accepted.
Chances = Callable[[torch.Tensor], torch.Tensor]


def grow(
    drafter: DraftLevels, choose: Choose, chances: Chances, shape: GrowthShape, tree: TreeRows
) -> Proposals:
    """Fills `tree`, whose root stands already; returns what was proposed on the way."""
    width, device = shape.branching, tree.parents.device
    ids, probs = choose(drafter.root(), 0)  # [1, width]
    found_ids, found_probs = [ids], [probs]
    token_ids, chance = ids[0], chances(probs.double())[0]
    # The frontier goes on from the likeliest, and the order decides between equals.
    order = torch.argsort(chance, descending=True, stable=True)
    reach, parents = [chance], [torch.zeros(width, dtype=torch.int64, device=device)]
    frontier = 1 + order  # nodes of the pool
    token_ids, chance = token_ids[order], chance[order]
    expanded = [torch.zeros(1, dtype=torch.int64, device=device)]
    parent_places: torch.Tensor | None = None
    above = torch.zeros((width, shape.num_level_rows), dtype=torch.bool, device=device)
    num_pool = 1 + width
    for level in range(1, shape.depth):
        first_row = (level - 1) * width
        if parent_places is not None:
            above = above.index_select(0, parent_places)
        places = torch.arange(shape.num_level_rows, device=device)
        itself = first_row + torch.arange(width, device=device)
        above = above | (places[None] == itself[:, None])
        logits = drafter.level(LevelRows(level, first_row, token_ids, parent_places, above), shape)
        ids, probs = choose(logits, level)  # [width, width]
        found_ids.append(ids)
        found_probs.append(probs)
        expanded.append(frontier)
        reach_of_children = (chance[:, None] * chances(probs.double())).flatten()
        parents.append(frontier.repeat_interleave(width))
        reach.append(reach_of_children)
        best = torch.argsort(reach_of_children, descending=True, stable=True)[:width]
        chance = reach_of_children[best]
        parent_places = best // width
        token_ids = ids.flatten()[best]
        frontier = num_pool + best
        num_pool += width * width
    return _keep_best(
        shape, tree, torch.cat(reach), torch.cat(parents),
        found_ids, found_probs, torch.cat(expanded),
    )  # fmt: skip


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
    order = torch.argsort(reach, descending=True, stable=True)[:count] + 1  # nodes of the pool
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
    return Proposals(new_index[expanded], torch.cat(found_ids), torch.cat(found_probs), are_numbers)


def _depths(parents: torch.Tensor, most: int) -> torch.Tensor:
    """Depths of drafted nodes from their parents  # [count]."""
    depths = torch.zeros(len(parents) + 1, dtype=torch.int64, device=parents.device)
    for _ in range(most):
        depths[1:] = depths[parents] + 1
    return depths[1:]
