"""What is kept of one answer, in the same words for our engine and for other programs.

Tokens are counted and timed by one function on both sides: from the moments at which a program
hands out tokens, as its user sees them.
"""

import dataclasses
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from core.benchmark.exactness import Divergence, first_divergence
from core.benchmark.questions import Question
from core.trace.file import Trace
from core.trace.stats import RunStats, stats_from_dict


class Resources(NamedTuple):
    """What an answer took beside time; None where the machine does not tell."""

    peak_resident_bytes: int | None = None
    """The most memory of the processes that computed it."""
    peak_gpu_bytes: int | None = None
    energy_j: float | None = None
    """Of the whole machine while it was computed."""


class Emission(NamedTuple):
    """Tokens handed out at once."""

    t_s: float
    """Since the answer was asked for."""
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a runner gave for a prompt."""

    token_ids: list[int] = field(default_factory=list)
    """Empty for a program that does not tell them."""
    text: str = ""
    emissions: list[Emission] = field(default_factory=list)
    is_streamed: bool = True
    """Whether these are all emissions that there were; False where a program tells sums alone."""
    total_s: float = 0.0
    """From the request to the end, the prompt's computation included."""
    trace: Trace | None = None
    """Of our engine's answers."""
    error: str | None = None
    """Why there is no whole answer."""
    resources: Resources = Resources()

    @property
    def pauses_s(self) -> list[float] | None:
        """From each emission to the next; None where the program does not tell them."""
        if not self.is_streamed:
            return None
        return [late.t_s - early.t_s for early, late in pairwise(self.emissions)]


class Pace(NamedTuple):
    """Tokens after the first emission and the time they took: the prompt's computation is apart."""

    num_tokens: int
    seconds: float


def pace_of(emissions: list[Emission]) -> Pace:
    """The pace of an answer; no tokens in no time where everything came at once."""
    if len(emissions) < 2:
        return Pace(0, 0.0)
    later = sum(emission.num_tokens for emission in emissions[1:])
    return Pace(later, emissions[-1].t_s - emissions[0].t_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The numbers of one answer to one turn of a question."""

    runner: str
    question_id: int
    category: str
    turn: int
    """From 1."""
    repeat: int
    """From 1."""
    num_tokens: int
    first_s: float | None
    """From the request to the first emission: the prompt's computation and the first step."""
    num_paced_tokens: int
    """Tokens after the first emission."""
    paced_s: float
    """From the first emission to the last."""
    pauses_s: list[float] | None
    """As `Answer.pauses_s`."""
    total_s: float
    stats: RunStats | None
    """Steps and phases; None for programs that do not tell them."""
    is_compared: bool
    """Whether it was held against plain decoding's answer, which it should equal."""
    divergence: Divergence | None
    """Where the answer leaves plain decoding's; None where it is the same or was not compared."""
    error: str | None
    resources: Resources

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `measurement_from_dict` inverts it."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["stats"] = self.stats.to_dict() if self.stats else None
        values["divergence"] = self.divergence._asdict() if self.divergence else None
        values["resources"] = self.resources._asdict()
        return values


def measurement_from_dict(values: dict[str, Any]) -> Measurement:
    """Inverse of `Measurement.to_dict`; raises KeyError or TypeError for anything else."""
    stats, divergence = values["stats"], values["divergence"]
    return Measurement(
        **{
            **values,
            "stats": stats_from_dict(stats) if stats else None,
            "divergence": Divergence(**divergence) if divergence else None,
            "resources": Resources(**values["resources"]),
        }
    )


def measure(
    answer: Answer,
    runner: str,
    question: Question,
    turn: int,
    repeat: int = 1,
    plain: Answer | None = None,
) -> Measurement:
    """The numbers of an answer; `plain` is plain decoding's, where the two should be equal."""
    reference = plain.trace if plain and not plain.error and not answer.error else None
    pace = pace_of(answer.emissions)
    return Measurement(
        runner=runner,
        question_id=question.question_id,
        category=question.category,
        turn=turn,
        repeat=repeat,
        num_tokens=sum(emission.num_tokens for emission in answer.emissions),
        first_s=answer.emissions[0].t_s if answer.emissions else None,
        num_paced_tokens=pace.num_tokens,
        paced_s=pace.seconds,
        pauses_s=answer.pauses_s,
        total_s=answer.total_s,
        stats=answer.trace.stats if answer.trace else None,
        is_compared=reference is not None,
        divergence=first_divergence(reference, answer.token_ids) if reference else None,
        error=answer.error,
        resources=answer.resources,
    )
