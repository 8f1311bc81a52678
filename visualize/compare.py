"""Runs side by side: where their outputs part, and what each mode gained."""

from collections.abc import Hashable, Sequence
from statistics import median
from typing import Final, NamedTuple

import pandas as pd

from core.errors import InvalidSettingError
from core.trace.events import RunFailed, RunStarted
from core.trace.file import Trace
from core.trace.pauses import Pauses, collect_pauses
from core.trace.stats import RunStats
from visualize.labels import Setup, repeat_key, run_labels, setup_of
from visualize.run_facts import run_facts
from visualize.steps import Step, complete_steps, entry, given_tokens, log_ratio

PLAIN_MODE = "naive"


class Divergence(NamedTuple):
    """The first place where two outputs differ."""

    position: int
    """Place in the output, from 0."""
    reference_token_id: int
    reference_text: str
    other_token_id: int
    other_text: str
    logit_gap: float | None
    """How far the reference's target held its own token above the other one, as the difference of
    log probabilities; small for a near-tie. None where the reference did not record it."""
    is_lower_bound: bool
    """The other token is not among those recorded, so the gap is at least `logit_gap`."""


def first_divergence(reference: Trace, other: Trace) -> Divergence | None:
    """None where the outputs agree as far as both of them go."""
    _check_same_prompt(reference, other)
    if -1 in reference.token_ids or -1 in other.token_ids:
        raise InvalidSettingError(
            "a server does not tell the token ids of its answer, by which the two are compared; read "
            "the texts."
        )
    pairs = zip(reference.token_ids, other.token_ids, strict=False)
    for position, (own_id, other_id) in enumerate(pairs):
        if own_id != other_id:
            gap, is_lower_bound = _gap(reference, position, other_id)
            return Divergence(
                position,
                own_id,
                reference.token_texts.get(own_id, ""),
                other_id,
                other.token_texts.get(other_id, ""),
                gap,
                is_lower_bound,
            )
    return None


def _check_same_prompt(reference: Trace, other: Trace) -> None:
    starts = [trace.first(RunStarted) for trace in (reference, other)]
    prompts = [started.prompt_token_ids for started in starts if started]
    if len(prompts) == 2 and all(prompts) and prompts[0] != prompts[1]:
        raise InvalidSettingError(
            "the two runs have different prompts; compare runs of the same prompt."
        )


class _Gap(NamedTuple):
    logit_gap: float | None
    is_lower_bound: bool


def _gap(reference: Trace, position: int, other_id: int) -> _Gap:
    position -= len(given_tokens(reference))  # of which the target was asked nothing
    if position < 0:
        return _Gap(None, False)
    for step in complete_steps(reference):
        if position < len(step.committed.token_ids):
            return _gap_in_step(step, position, other_id)
        position -= len(step.committed.token_ids)
    return _Gap(None, False)


def _gap_in_step(step: Step, index: int, other_id: int) -> _Gap:
    parent, node = step.parent_of(index), step.committed.nodes[index]
    ids = entry(step.verified.top_k_token_ids, parent) or []
    probs = entry(step.verified.top_k_probs, parent) or []
    own = entry(step.verified.target_probs, node) if node > 0 else step.accepted.next_prob
    is_recorded = other_id in ids
    least = probs[ids.index(other_id)] if is_recorded else min(probs, default=0.0)
    gap = log_ratio(own, least) if own is not None else None
    return _Gap(gap, gap is not None and not is_recorded)


SUMMARY_DTYPES: Final = {
    "run": "string",
    "mode": "string",
    "lossy_rule": "string",
    "target": "string",
    "device": "string",
    "num_runs": "int64",
    "num_failed": "int64",
    "tokens_per_s": "Float64",
    "tokens_per_s_min": "Float64",
    "tokens_per_s_max": "Float64",
    "speed_up": "Float64",
    "acceptance_length": "Float64",
    "num_steps": "Int64",
    "steps_origin": "string",
    "acceptance_rate": "Float64",
    "num_accepted": "Int64",
    "num_tested": "Int64",
    "num_drafted": "Int64",
    "draft_share": "Float64",
    "time_to_first_token_s": "Float64",
    "pause_p50_s": "Float64",
    "pause_p95_s": "Float64",
    "pause_p99_s": "Float64",
    "longest_pause_s": "Float64",
    "mean_burst": "Float64",
    "largest_burst": "Int64",
    "peak_memory_bytes": "Int64",
}
"""Columns of `summary_frame`: medians over repeats for speeds and times, counts added up, and the
pauses of all repeats together."""


class RunGroup(NamedTuple):
    """A run with its repeats."""

    label: str
    traces: list[Trace]
    whole: list[Trace]
    """Those that did not fail."""


def run_groups(traces: Sequence[Trace]) -> list[RunGroup]:
    """Repeats taken together, in the order of the first of each."""
    groups: dict[Hashable, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(repeat_key(trace), []).append(trace)
    labels = run_labels([group[0] for group in groups.values()])
    return [
        RunGroup(label, group, [trace for trace in group if trace.first(RunFailed) is None])
        for label, group in zip(labels, groups.values(), strict=True)
    ]


def summary_frame(traces: Sequence[Trace]) -> pd.DataFrame:
    """A row a run, its repeats taken together; failed repeats are counted and left out.

    `speed_up` is over plain decoding of the same prompt, model, number format and device, for a server
    over one of the same model that does not speculate; empty where no such run is among the traces.
    """
    groups = run_groups(traces)
    plain_speeds: dict[Setup, float] = {}
    for group in groups:
        speeds = _speeds(group.whole)
        if is_plain(group.traces[0]) and speeds:
            plain_speeds.setdefault(setup_of(group.traces[0]), median(speeds))
    rows = [_summary_row(group, plain_speeds.get(setup_of(group.traces[0]))) for group in groups]
    return pd.DataFrame(rows, columns=list(SUMMARY_DTYPES)).astype(SUMMARY_DTYPES)


def is_plain(trace: Trace) -> bool:
    """Whether a run drafted nothing, so that others of its setup are held against it: plain decoding,
    and a server that says that it does not speculate."""
    facts = run_facts(trace)
    return facts.mode == PLAIN_MODE or facts.server.get("speculates") is False


def _share(seconds: float | None, whole_s: float) -> float | None:
    return seconds / whole_s if seconds is not None and whole_s else None


def _speeds(whole: list[Trace]) -> list[float]:
    speeds = [trace.stats.tokens_per_s for trace in whole]
    return [speed for speed in speeds if speed is not None]


def _summary_row(group: RunGroup, plain_speed: float | None) -> dict[str, object]:
    whole, speeds, facts = group.whole, _speeds(group.whole), run_facts(group.traces[0])
    total, pauses = RunStats(), Pauses()
    for trace in whole:
        total.merge(trace.stats)
        pauses.merge(collect_pauses(trace.events))
    paused = pauses.to_dict()
    paused.pop("num_pauses")
    every = [run_facts(trace) for trace in whole]
    first_token = [
        item.time_to_first_token_s for item in every if item.time_to_first_token_s is not None
    ]
    memory = [item.peak_memory_bytes for item in every if item.peak_memory_bytes is not None]
    speed = median(speeds) if speeds else None
    return {
        "run": group.label,
        "mode": facts.mode,
        "lossy_rule": facts.lossy_rule,
        "target": facts.target,
        "device": facts.device,
        "num_runs": len(whole),
        "num_failed": len(group.traces) - len(whole),
        "tokens_per_s": speed,
        "tokens_per_s_min": min(speeds, default=None),
        "tokens_per_s_max": max(speeds, default=None),
        "speed_up": speed / plain_speed if speed and plain_speed else None,
        "acceptance_length": total.acceptance_length,
        "num_steps": total.known("num_steps"),
        "steps_origin": total.origins.get("num_steps", ""),
        "acceptance_rate": total.acceptance_rate,
        "num_accepted": total.known("num_accepted"),
        "num_tested": total.known("num_tested"),
        "num_drafted": total.known("num_drafted"),
        "draft_share": _share(total.known("draft_s"), total.steps_s),
        "time_to_first_token_s": median(first_token) if first_token else None,
        **paused,
        "peak_memory_bytes": max(memory, default=None),
    }
