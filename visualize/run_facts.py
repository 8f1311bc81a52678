"""What is known of a whole run, also of one that failed, was cut off, or came from elsewhere."""

from typing import Any, NamedTuple

from core.trace.events import (
    Committed,
    Prefilled,
    RunFailed,
    RunFinished,
    RunStarted,
    ServerTotals,
)
from core.trace.file import Trace


class RunFacts(NamedTuple):
    """Names and results of a run; empty texts stand for what the trace does not tell."""

    run_id: str
    mode: str
    lossy_rule: str
    """See `Trace.lossy_rule`."""
    target: str
    draft: str
    dtype: str
    device: str
    started_at: str
    seed: int | None
    config: dict[str, Any]
    parent: str
    """The run that it is a branch of; empty where it is none."""
    forked_at: int | None
    """Place in the answer, from 0, of the first token that was chosen; None where it is no branch."""
    server: dict[str, Any]
    """The server that answered; empty for our own engine."""
    prompt_text: str
    num_prompt_tokens: int | None
    num_reused: int | None
    num_remembered: int | None
    """Tokens of the earlier answers that lookup searched; None where it searched none."""
    outcome: str
    error: str
    peak_memory_bytes: int | None
    time_to_first_token_s: float | None


def run_facts(trace: Trace) -> RunFacts:
    """Reads start, prefill and end of a run."""
    started = trace.first(RunStarted)
    prefilled = trace.first(Prefilled)
    finished = trace.first(RunFinished)
    failed = trace.first(RunFailed)
    first = trace.first(Committed)
    config = started.config if started else {}
    return RunFacts(
        run_id=started.run_id if started else "",
        mode=_word(config, "mode"),
        lossy_rule=trace.lossy_rule,
        target=_word(started.target, "name") if started else "",
        draft=_word(started.draft, "name") if started and started.draft else "",
        dtype=_word(config, "dtype"),
        device=started.device if started else "",
        started_at=started.started_at if started else "",
        seed=started.seed if started else None,
        config=config,
        parent=started.parent if started else "",
        forked_at=started.forked_at if started else None,
        server=(started.server or {}) if started else {},
        prompt_text=started.prompt_text if started else "",
        num_prompt_tokens=_num_prompt_tokens(started, trace),
        num_reused=prefilled.num_reused if prefilled else 0,
        num_remembered=_number(started.memory, "num_tokens") if started else None,
        outcome="failed" if failed else finished.reason if finished else "",
        error=f"{failed.error}: {failed.message}" if failed else "",
        peak_memory_bytes=finished.peak_memory_bytes if finished else None,
        time_to_first_token_s=first.t_end_s if first else None,
    )


def _num_prompt_tokens(started: RunStarted | None, trace: Trace) -> int | None:
    """None where a server did not tell it."""
    if started is None or started.server is None or started.prompt_token_ids:
        return len(started.prompt_token_ids) if started else 0
    totals = trace.first(ServerTotals)
    return _number(totals.told, "num_prompt_tokens") if totals else None


def _word(values: dict[str, Any], name: str) -> str:
    # A trace from elsewhere may hold anything in its dicts.
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _number(values: dict[str, Any] | None, name: str) -> int | None:
    value = (values or {}).get(name)
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if is_number else None
