"""Which draft tokens are kept: the walk down a draft tree.

`match` is lossless: the target's token is drawn with noise keyed by seed and position, as plain
decoding draws it, and a draft child is accepted when it is that very token. Every mode gives the
text of plain decoding for the same seed.
"""

from collections.abc import Callable, Set
from typing import NamedTuple

from core.tree import DraftTree

# The target's own token after a node, given the node's index and depth.
DrawAfter = Callable[[int, int], int]


class Judgement(NamedTuple):
    """Result of a walk; indices are nodes of the tree."""

    path: list[int]
    """Accepted nodes, the root left out."""
    tested: list[int]
    """Nodes that were compared, in order."""
    next_token_id: int | None
    """The target's token after the path; None where the path ended the run."""


def accept_matching(tree: DraftTree, draw_after: DrawAfter, end_token_ids: Set[int]) -> Judgement:
    """Follows the target's own tokens through the tree as far as it has them."""
    path: list[int] = []
    tested: list[int] = []
    node = 0
    while True:
        token_id = draw_after(node, tree.depths[node])
        kept = None
        for child in tree.children[node]:
            tested.append(child)
            if tree.token_ids[child] == token_id:
                kept = child
                break
        if kept is None:
            return Judgement(path, tested, token_id)
        path.append(kept)
        if token_id in end_token_ids:
            return Judgement(path, tested, None)
        node = kept
