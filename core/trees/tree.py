"""Draft trees: node 0 is the root (the last committed token), parents stand before children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(slots=True)
class DraftTree:
    """A growing tree of draft tokens; a chain is a tree with one branch, plain decoding the root."""

    root_token_id: int
    is_remembered: bool = False
    """Whether it was found in earlier answers."""
    token_ids: list[int] = field(init=False)
    parents: list[int] = field(init=False)
    depths: list[int] = field(init=False)
    draft_probs: list[float] = field(init=False)
    children: list[list[int]] = field(init=False)
    top_k_token_ids: list[list[int]] = field(init=False)
    top_k_probs: list[list[float]] = field(init=False)
    sampled_probs: dict[int, torch.Tensor] = field(init=False)
    """For nodes whose children were sampled without replacement, the distribution they came from."""

    def __post_init__(self) -> None:
        self.token_ids = [self.root_token_id]
        self.parents = [-1]
        self.depths = [0]
        self.draft_probs = [1.0]
        self.children = [[]]
        self.top_k_token_ids = [[]]
        self.top_k_probs = [[]]
        self.sampled_probs = {}

    def __len__(self) -> int:
        """Nodes with the root: the rows of the target's forward."""
        return len(self.token_ids)

    @property
    def num_drafted(self) -> int:
        return len(self.token_ids) - 1

    def add(self, parent: int, token_id: int, draft_prob: float) -> int:
        """Adds a child and returns its index; IndexError for a parent that is not there."""
        if not 0 <= parent < len(self.token_ids):
            raise IndexError(f"parent {parent} is not in a tree of {len(self)} nodes")
        node = len(self.token_ids)
        self.token_ids.append(token_id)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1)
        self.draft_probs.append(draft_prob)
        self.children.append([])
        self.children[parent].append(node)
        self.top_k_token_ids.append([])
        self.top_k_probs.append([])
        return node

    def set_top_k(self, node: int, token_ids: list[int], probs: list[float]) -> None:
        """Records the drafter's most probable next tokens after a node."""
        self.top_k_token_ids[node] = token_ids
        self.top_k_probs[node] = probs

    def reach(self) -> list[float]:
        """For every drafted node, the product of draft probabilities on the way to it."""
        chances = [1.0]
        for node in range(1, len(self)):
            chances.append(chances[self.parents[node]] * self.draft_probs[node])
        return chances[1:]

    def first_nodes(self, num_drafted: int) -> DraftTree:
        """The tree of the first so many drafted nodes, in the order in which they were added."""
        if num_drafted >= self.num_drafted:
            return self
        smaller, end = DraftTree(self.root_token_id, self.is_remembered), num_drafted + 1
        smaller.token_ids = self.token_ids[:end]
        smaller.parents = self.parents[:end]
        smaller.depths = self.depths[:end]
        smaller.draft_probs = self.draft_probs[:end]
        smaller.children = [[child for child in of if child < end] for of in self.children[:end]]
        smaller.top_k_token_ids = self.top_k_token_ids[:end]
        smaller.top_k_probs = self.top_k_probs[:end]
        return smaller

    def subtree(self, nodes: Sequence[int]) -> DraftTree:
        """The tree of the root and these nodes, each after its parent; new indices, old order."""
        smaller = DraftTree(self.root_token_id, self.is_remembered)
        smaller.set_top_k(0, self.top_k_token_ids[0], self.top_k_probs[0])
        new_index = {0: 0}
        for node in nodes:
            parent = new_index[self.parents[node]]
            new_index[node] = smaller.add(parent, self.token_ids[node], self.draft_probs[node])
            top_ids, top_probs = self.top_k_token_ids[node], self.top_k_probs[node]
            smaller.set_top_k(new_index[node], top_ids, top_probs)
        return smaller

    def path_to(self, node: int) -> list[int]:
        """Nodes from the root's child down to `node`; empty for the root."""
        path = []
        while node > 0:
            path.append(node)
            node = self.parents[node]
        return path[::-1]

    def path_token_ids(self, node: int) -> list[int]:
        return [self.token_ids[index] for index in self.path_to(node)]
