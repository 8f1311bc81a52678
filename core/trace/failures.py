"""What broke in the middle of a run, as one sentence for its trace and its visitor."""

from core.errors import SpecDecodesError
from core.trace.events import RunFailed
from core.trace.stats import RunStats

_MOST_CHARACTERS = 300


def is_gpu_lost(error: BaseException) -> bool:
    """Whether the process can compute nothing more on its GPU: CUDA's errors stay."""
    return "CUDA error" in str(error)


def describe_failure(error: BaseException) -> str:
    """One line: what to do where that is known, else the first line of the error's own words."""
    words = str(error)
    if isinstance(error, MemoryError) or "out of memory" in words or "not enough memory" in words:
        return (
            "The memory does not suffice for this step; give fewer draft tokens, a shorter chat or a "
            "smaller model, or close other programs."
        )
    if is_gpu_lost(error):
        first = words.splitlines()[0].rstrip(".")[:_MOST_CHARACTERS]
        return f"The GPU failed ({first}); start the program again if it goes on."
    lines = words.splitlines() or [type(error).__name__]
    return lines[0][:_MOST_CHARACTERS]


def refused(error: Exception) -> RunFailed:
    """The only event of a run that did not begin, where others go on beside it."""
    return RunFailed(
        step=0,
        t_start_s=0.0,
        t_end_s=0.0,
        error=type(error).__name__,
        message=str(error) if isinstance(error, SpecDecodesError) else describe_failure(error),
        totals=RunStats().to_dict(),
    )
