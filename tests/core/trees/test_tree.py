"""Trees as lists: parts of them."""

import dataclasses
import random

import pytest

from core.trees.tree import DraftTree


def grown(seed: int) -> DraftTree:
    """Twenty nodes, each below one of those before it."""
    draw = random.Random(seed)
    tree = DraftTree(7, is_remembered=bool(seed % 2))
    for token_id in range(20):
        node = tree.add(draw.randrange(len(tree)), token_id, draw.random())
        if draw.random() < 0.5:
            tree.set_top_k(node, [1, 2], [0.5, 0.25])
    return tree


@pytest.mark.parametrize("seed", range(4))
def test_the_first_nodes_are_the_subtree_of_them(seed: int) -> None:
    tree = grown(seed)
    before = dataclasses.asdict(tree)
    for count in range(20):
        smaller = tree.first_nodes(count)
        assert smaller == tree.subtree(range(1, count + 1))
        smaller.add(0, 99, 1.0)
        smaller.token_ids[0] = 0
    assert dataclasses.asdict(tree) == before, "what becomes of a part leaves the whole alone"
    assert tree.first_nodes(20) is tree
