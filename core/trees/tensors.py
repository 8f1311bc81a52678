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
    """The trees of several sequences in the rows of one forward, each filled up with rows that stand
    for nothing.

    All are on the device; node 0 of each is its root.
    """

    token_ids: torch.Tensor  # [sequences, rows] int64
    parents: torch.Tensor  # [sequences, rows] int64, the root's own is 0
    depths: torch.Tensor  # [sequences, rows] int64
    probs: torch.Tensor  # [sequences, rows] float32
    num_nodes: torch.Tensor  # [sequences] int64


class Proposals(NamedTuple):
    """What the drafter proposed after the nodes that it expanded, for each sequence."""

    nodes: torch.Tensor  # [sequences, expanded] int64, -1 for a node that was not kept
    proposed_ids: torch.Tensor  # [sequences, expanded, count] int64
    proposed_probs: torch.Tensor  # [sequences, expanded, count] float32
    reach: torch.Tensor  # [sequences, at most MAX_TREE_NODES] float32
    """The chances of the nodes that a larger tree would have, the likeliest first."""
    are_numbers: torch.Tensor  # [sequences] bool
    """Whether all probabilities are; of NaN the tree is nothing, and not even a tree."""


def make_trees(sequences: int, rows: int, device: torch.device) -> TreeRows:
    """Room for trees of at most `rows` nodes: the roots alone."""

    def whole(*sizes: int) -> torch.Tensor:
        return torch.zeros(sizes, dtype=torch.int64, device=device)

    probs = torch.ones((sequences, rows), dtype=torch.float32, device=device)
    return TreeRows(
        whole(sequences, rows),
        whole(sequences, rows),
        whole(sequences, rows),
        probs,
        torch.ones(sequences, dtype=torch.int64, device=device),
    )


def flat_places(
    places: torch.Tensor,  # [sequences, some] int64
    count: int,
) -> torch.Tensor:
    """Places among each sequence's `count` rows as places among all rows  # [sequences * some]."""
    if len(places) == 1:
        return places.flatten()
    first = torch.arange(0, len(places) * count, count, device=places.device)
    return (places + first[:, None]).flatten()


def ancestors(parents: torch.Tensor) -> torch.Tensor:  # [sequences, rows] int64
    """Row i of a sequence is true at i and at all nodes above it  # [sequences * rows, rows] bool.

    By doubling: after n rounds a row knows the 2^n - 1 nodes above it.
    """
    sequences, rows = parents.shape
    above = torch.eye(rows, dtype=torch.bool, device=parents.device).repeat(sequences, 1)
    jump, reach = flat_places(parents, rows), 1
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
