"""Traces as pandas frames; `visualize.columns` names and types their columns."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from core.errors import InvalidSettingError
from core.runtime.strict_json import dumps
from core.trace.events import Accepted
from core.trace.file import Trace
from core.trace.pauses import collect_pauses
from visualize.columns import COLUMNS
from visualize.run_facts import run_facts
from visualize.status import node_statuses
from visualize.steps import (
    AnyStep,
    PhaseTimes,
    SeenStep,
    all_steps,
    complete_steps,
    entry,
    given_tokens,
    logit_gap,
)

Row = dict[str, Any]


def run_frame(trace: Trace) -> pd.DataFrame:
    """The run in one row."""
    return _frame("runs", _run_rows(trace))


def steps_frame(trace: Trace) -> pd.DataFrame:
    """A row a step."""
    return _frame("steps", _step_rows(trace))


def tokens_frame(trace: Trace) -> pd.DataFrame:
    """A row an emitted token."""
    return _frame("tokens", _token_rows(trace))


def nodes_frame(trace: Trace) -> pd.DataFrame:
    """A row a drafted node; roots are not drafted."""
    return _frame("nodes", _node_rows(trace))


def table_frame(traces: Sequence[Trace], table: str) -> pd.DataFrame:
    """One table over several runs, one run after the other."""
    if table not in _ROWS:
        raise InvalidSettingError(f"table is {table!r}; give one of {', '.join(_ROWS)}.")
    return _frame(table, [row for trace in traces for row in _ROWS[table](trace)])


def _frame(table: str, rows: Iterable[Row]) -> pd.DataFrame:
    columns = COLUMNS[table]
    frame = pd.DataFrame(list(rows), columns=list(columns))
    return frame.astype({name: column.dtype for name, column in columns.items()})


def _run_rows(trace: Trace) -> list[Row]:
    facts = run_facts(trace)
    stats = trace.stats.to_dict()
    stats.pop("steps_s")  # total_s less prefill_s
    stats.pop("num_untimed")
    values = facts._asdict()
    stats["origins_json"] = _json_of(stats.pop("origins"))
    values["server_json"] = _json_of(values.pop("server"))
    config_json = dumps(values.pop("config"), ensure_ascii=False)
    pauses = collect_pauses(trace.events).to_dict()
    return [{**values, **stats, **pauses, "config_json": config_json, "text": trace.text}]


def _json_of(values: dict[str, Any] | None) -> str:
    return dumps(values, ensure_ascii=False) if values else ""


def _step_rows(trace: Trace) -> list[Row]:
    keys = _run_keys(trace)
    rows = []
    for step in all_steps(trace):
        committed = step.committed
        num_emitted: int | None = len(committed.token_ids)
        if isinstance(step, SeenStep) and step.observed.num_tokens is None:
            num_emitted = None
        times = step.times._asdict() if step.times else dict.fromkeys(PhaseTimes._fields)
        rows.append(
            {
                **keys,
                "step": step.number,
                "drafter": step.drafter,
                "num_drafted": step.num_drafted,
                "num_tested": step.num_tested,
                "num_accepted": step.num_accepted,
                "num_emitted": num_emitted,
                "acceptance_length": num_emitted if step.num_forwards == 1 else None,
                "num_forwards": step.num_forwards,
                "max_depth": step.max_depth,
                "t_start_s": step.start_s,
                **times,
                "step_ms": committed.step_s * 1e3,
                "num_rows": step.num_rows,
                "cache_length": committed.cache_length,
                "text": "".join(committed.texts),
            }
        )
    return rows


def _token_rows(trace: Trace) -> list[Row]:
    keys, names = _run_keys(trace), trace.token_texts
    rows: list[Row] = [
        {
            **keys,
            "position": position,
            "step": 0,
            "token_id": token.token_id,
            "text": token.text,
            "token_text": names.get(token.token_id, ""),
            "source": token.source,
            "depth": position + 1,
            "node": -1,
            "t_s": 0.0,
        }
        for position, token in enumerate(given_tokens(trace))
    ]
    for step in all_steps(trace):
        committed = step.committed
        for index, token_id in enumerate(committed.token_ids):
            rows.append(
                {
                    **keys,
                    "position": len(rows),
                    "step": step.number,
                    "token_id": None if token_id < 0 else token_id,
                    "text": committed.texts[index],
                    "token_text": names.get(token_id, ""),
                    "source": committed.sources[index],
                    "depth": index + 1,
                    "node": committed.nodes[index],
                    **_probabilities(step, index),
                    "t_s": committed.t_end_s,
                }
            )
    return rows


def _probabilities(step: AnyStep, index: int) -> Row:
    """What the two models thought of the emitted token at `index`."""
    if isinstance(step, SeenStep):
        target_prob = entry(step.observed.target_probs, index)
        return {
            "draft_prob": None, "target_prob": target_prob, "entropy_nats": None, "logit_gap": None,
        }  # fmt: skip
    node, parent = step.committed.nodes[index], step.parent_of(index)
    verified = step.verified
    is_drafted = node > 0
    return {
        "draft_prob": step.drafted.draft_probs[node] if is_drafted else None,
        "target_prob": (
            entry(verified.target_probs, node) if is_drafted else step.accepted.next_prob
        ),
        "entropy_nats": entry(verified.entropies_nats, parent),
        "logit_gap": logit_gap(entry(verified.top_k_probs, parent) or []),
    }


def _node_rows(trace: Trace) -> list[Row]:
    keys, names = _run_keys(trace), trace.token_texts
    rows = []
    for step in complete_steps(trace):
        drafted, verified = step.drafted, step.verified
        statuses = node_statuses(len(drafted.token_ids), step.accepted)
        trials = _trials(step.accepted)
        for node in range(1, len(drafted.token_ids)):
            parent, token_id = drafted.parents[node], drafted.token_ids[node]
            rows.append(
                {
                    **keys,
                    "step": step.number,
                    "drafter": drafted.drafter,
                    "node": node,
                    "parent": parent,
                    "depth": drafted.depths[node],
                    "token_id": token_id,
                    "text": names.get(token_id, ""),
                    "draft_prob": drafted.draft_probs[node],
                    "target_prob": entry(verified.target_probs, node),
                    "entropy_nats": entry(verified.entropies_nats, parent),
                    "status": statuses[node],
                    **trials.get(node, {"noise": None, "threshold": None}),
                }
            )
    return rows


def _trials(accepted: Accepted) -> dict[int, Row]:
    """Noise and threshold of the tested nodes, where they were recorded."""
    numbers = zip(accepted.tested, accepted.noises, accepted.thresholds, strict=False)
    return {node: {"noise": noise, "threshold": value} for node, noise, value in numbers}


def _run_keys(trace: Trace) -> Row:
    facts = run_facts(trace)
    return {"run_id": facts.run_id, "mode": facts.mode, "lossy_rule": facts.lossy_rule}


_ROWS: dict[str, Callable[[Trace], list[Row]]] = {
    "runs": _run_rows,
    "steps": _step_rows,
    "tokens": _token_rows,
    "nodes": _node_rows,
}
