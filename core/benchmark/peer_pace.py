"""Whether other programs run in a comparison as fast as alone: asked before ours is loaded, and again.

Ours sleeps while they answer. What it holds, or what else runs on the machine by then, may slow them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from core.benchmark.measurement import pace_of
from core.benchmark.tables import Table
from core.errors import DrafterUnavailableError

if TYPE_CHECKING:
    from core.benchmark.runners import Runner
    from core.decoding.run_start import Prompt

TEXT = "Explain how a bicycle stays upright. The first thing that matters is"
MOST_DIFFERENCE = 0.05
_ANSWERS = 3


class PeerPace(NamedTuple):
    """Tokens a second of the same prompt."""

    alone: float
    inside: float

    @property
    def is_equal(self) -> bool:
        return abs(self.inside - self.alone) <= MOST_DIFFERENCE * self.alone


def fastest_paces(runners: Sequence["Runner"], prompt: "Prompt") -> dict[str, float]:
    """Tokens a second of each runner's best of a few answers, behind one that is not counted; of
    those that run here.

    Raises DrafterUnavailableError for one that cannot answer.
    """
    return {runner.label: _fastest(runner, prompt) for runner in runners if runner.memory}


def _fastest(runner: "Runner", prompt: "Prompt") -> float:
    paces = []
    for _ in range(1 + _ANSWERS):
        answer = runner.answer(prompt)
        if answer.error is not None:
            raise DrafterUnavailableError(
                f"{runner.label} fails at its first answer ({answer.error.rstrip('.')}); leave it out "
                "or change its settings."
            )
        pace = pace_of(answer.emissions)
        paces.append(pace.num_tokens / pace.seconds if pace.seconds else 0.0)
    return max(paces[1:])


def pace_table(paces: Mapping[str, PeerPace]) -> list[Table]:
    """Both paces of each program, and who runs at another one than alone; nothing without any."""
    if not paces:
        return []
    rows = [
        (label, f"{pace.alone:.1f}", f"{pace.inside:.1f}", f"{pace.inside / pace.alone:.2f}")
        for label, pace in paces.items()
    ]
    told = ", ".join(label for label, pace in paces.items() if not pace.is_equal)
    note = (
        f"{told}: more than {MOST_DIFFERENCE:.0%} apart, so that figures here are not those of the "
        "program alone; see what else runs on this machine, and measure again."
        if told
        else ""
    )
    columns = ("", "alone", "in this comparison", "ratio")
    return [Table("Tokens/s of one prompt, before ours was loaded and after", columns, rows, note)]
