"""What all acceptance rules share: which draft tokens are kept is found by a walk down the tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

    from core.acceptance.sampling import TokenDrawer
    from core.acceptance.sampling_config import SamplingConfig
    from core.trees.tree import DraftTree


class Trial(NamedTuple):
    """What decided about one drafted token; see `core.trace.events.Accepted`."""

    noise: float | None
    threshold: float | None


class Judgement(NamedTuple):
    """Result of a walk; indices are nodes of the tree."""

    path: list[int]
    """Accepted nodes, the root left out."""
    tested: list[int]
    """Nodes that were judged, in order."""
    next_token_id: int | None
    """The target's token after the path; None where the path ended the run."""
    trials: Sequence[Trial] = ()
    """One for each tested node; empty where they are not recorded."""


class Choice(NamedTuple):
    """What a rule decides at one node."""

    tested: list[int]
    kept: int | None
    own_token_id: int | None
    """The target's own token, where no child was kept."""
    trials: Sequence[Trial] = ()


class RuleParts(NamedTuple):
    """What a rule is made of, for one run."""

    sampling: SamplingConfig
    drawer: TokenDrawer
    """Draws the target's own tokens, by keyed noise."""
    generator: torch.Generator
    """The rule's own random numbers, seeded by the run."""
    records_noise: bool
    """Whether trials are wanted where they cost something."""


class AcceptanceRule(Protocol):
    """Judges the children of one node."""

    def choose(
        self,
        tree: DraftTree,
        node: int,
        logits: torch.Tensor,  # [vocab] float32, after the node
        position: int,
    ) -> Choice:
        """`position` is that of the token to choose, counted from the start of the prompt."""
        ...


def judge(
    rule: AcceptanceRule,
    tree: DraftTree,
    logits: torch.Tensor,  # [num_nodes, vocab] float32
    position: int,
    end_token_ids: Set[int],
) -> Judgement:
    """Walks from the root as long as the rule keeps a child; `position` follows the root."""
    return _walk(
        lambda node: rule.choose(tree, node, logits[node], position + tree.depths[node]),
        tree,
        end_token_ids,
    )


def judge_greedily(
    tree: DraftTree, best_token_ids: Sequence[int], end_token_ids: Set[int]
) -> Judgement:
    """The walk of greedy decoding, given the target's best token after every node."""
    return _walk(lambda node: match_children(tree, node, best_token_ids[node]), tree, end_token_ids)


def match_children(tree: DraftTree, node: int, token_id: int) -> Choice:
    """Keeps the child that is the token; those before it were tested."""
    tested: list[int] = []
    for child in tree.children[node]:
        tested.append(child)
        if tree.token_ids[child] == token_id:
            return Choice(tested, child, None)
    return Choice(tested, None, token_id)


def _walk(choose: Callable[[int], Choice], tree: DraftTree, end_token_ids: Set[int]) -> Judgement:
    path: list[int] = []
    tested: list[int] = []
    trials: list[Trial] = []
    node = 0
    while True:
        choice = choose(node)
        tested += choice.tested
        trials += choice.trials
        if choice.kept is None:
            return Judgement(path, tested, choice.own_token_id, trials)
        path.append(choice.kept)
        if tree.token_ids[choice.kept] in end_token_ids:
            return Judgement(path, tested, None, trials)
        node = choice.kept
