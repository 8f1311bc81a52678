"""Draft trees as tensors of a fixed size, and what follows from their parents."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

# Forwards over trees on a device have one of these numbers of rows, for each has a graph of its own.
ROWS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 257)
MOST_ROWS = ROWS[-1]


def bucket(rows: int) -> int:
    """The smallest number of rows that a forward has and that is enough."""
    return next(size for size in ROWS if size >= rows)


class TreeRows(NamedTuple):
    """A tree in the rows of one forward, filled up with rows that stand for nothing.

    All are on the device, `rows` long; node 0 is the root.
    """

    token_ids: torch.Tensor  # int64
    parents: torch.Tensor  # int64, the root's own is 0
    depths: torch.Tensor  # int64
    probs: torch.Tensor  # float32
    num_nodes: torch.Tensor  # [1] int64


class Proposals(NamedTuple):
    """What the drafter proposed after the nodes that it expanded."""

    nodes: torch.Tensor  # [expanded] int64, -1 for a node that was not kept
    proposed_ids: torch.Tensor  # [expanded, count] int64
    proposed_probs: torch.Tensor  # [expanded, count] float32
    reach: torch.Tensor  # [at most MAX_TREE_NODES] float32
    """The chances of the nodes that a larger tree would have, the likeliest first."""
    are_numbers: torch.Tensor  # [1] bool
    """Whether all probabilities are; of NaN the tree is nothing, and not even a tree."""


def make_tree(rows: int, device: torch.device) -> TreeRows:
    """Room for a tree of at most `rows` nodes: the root alone."""

    def whole(size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.int64, device=device)

    probs = torch.ones(rows, dtype=torch.float32, device=device)
    return TreeRows(
        whole(rows),
        whole(rows),
        whole(rows),
        probs,
        torch.ones(1, dtype=torch.int64, device=device),
    )


def ancestors(parents: torch.Tensor) -> torch.Tensor:  # [rows] int64
    """Row i is true at i and at all nodes above it  # [rows, rows] bool.

    By doubling: after n rounds a row knows the 2^n - 1 nodes above it.
    """
    rows = parents.shape[0]
    above = torch.eye(rows, dtype=torch.bool, device=parents.device)
    jump, reach = parents, 1
    while reach < rows:
        above = above | above[jump]
        jump = jump[jump]
        reach *= 2
    return above


def ancestor_mask(parents: Sequence[int]) -> torch.Tensor:
    """Row i is true at i and at all its ancestors: what node i may attend to in the tree.

    Returns bool  # [num_nodes, num_nodes]
    """
    num_nodes = len(parents)
    rows: list[list[bool]] = []
    for node, parent in enumerate(parents):
        row = rows[parent].copy() if parent >= 0 else [False] * num_nodes
        row[node] = True
        rows.append(row)
    return torch.tensor(rows, dtype=torch.bool)
