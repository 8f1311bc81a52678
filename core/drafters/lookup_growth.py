"""Grows the draft of a lookup: the node that is most likely to be reached, again and again."""

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from core.trees.tree import DraftTree

ContextT = TypeVar("ContextT")


class Follower(NamedTuple, Generic[ContextT]):
    """A token that followed a context."""

    token_id: int
    prob: float
    context: ContextT
    """The one that the token makes of it."""


Expand = Callable[[int, ContextT, float], Iterable[Follower[ContextT]]]
"""Of a node, its context and its reach: what may follow."""


def grow_by_reach(
    tree: DraftTree,
    num_nodes: int,
    depth: int,
    context: ContextT,
    expand: Expand[ContextT],
) -> None:
    """Adds up to `num_nodes` to a root in its context; of equal ones the first that was found."""
    heap: list[tuple[float, int, int, Follower[ContextT]]] = []
    order = itertools.count()

    def offer(node: int, context: ContextT, reach: float) -> None:
        for found in expand(node, context, reach):
            heapq.heappush(heap, (-reach * found.prob, next(order), node, found))

    offer(0, context, 1.0)
    while heap and tree.num_drafted < num_nodes:
        minus_reach, _, parent, found = heapq.heappop(heap)
        node = tree.add(parent, found.token_id, found.prob)
        if tree.depths[node] < depth:
            offer(node, found.context, -minus_reach)
