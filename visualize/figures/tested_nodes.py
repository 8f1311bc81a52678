"""The drafted nodes that the target judged: what the acceptance figures count."""

from collections.abc import Iterator
from typing import NamedTuple

from core.trace.file import Trace
from visualize.steps import complete_steps, entry


class Judged(NamedTuple):
    """One judgement."""

    depth: int
    draft_prob: float
    entropy_nats: float | None
    """Entropy of the target's distribution that judged it; None where it was not recorded."""
    is_accepted: bool


def tested_nodes(trace: Trace) -> Iterator[Judged]:
    """All judgements of a run in order."""
    for step in complete_steps(trace):
        drafted, kept = step.drafted, set(step.accepted.path)
        for node in step.accepted.tested:
            yield Judged(
                depth=drafted.depths[node],
                draft_prob=drafted.draft_probs[node],
                entropy_nats=entry(step.verified.entropies_nats, drafted.parents[node]),
                is_accepted=node in kept,
            )
