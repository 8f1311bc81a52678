"""A run as one HTML file that opens offline, without Python and without a server."""

import json
from pathlib import Path
from typing import Any

from core.trace.file import Trace
from visualize.columns import COLUMNS
from visualize.figures.catalogue import ONE_RUN_FIGURES
from visualize.frames import steps_frame
from visualize.labels import lossy_mark
from visualize.report.document import filled_page, plain_figures, plain_templates
from visualize.run_facts import run_facts
from visualize.status import node_statuses
from visualize.steps import AnyStep, GivenToken, SeenStep, all_steps, entry, given_tokens


def export_report(trace: Trace, path: Path) -> None:
    """Writes the report of one run; it is about 5 MB, nearly all of it plotly."""
    path.write_text(report_html(trace), encoding="utf-8", errors="replace")


def report_html(trace: Trace) -> str:
    """The whole page as a text."""
    return filled_page("report", "SpecDecodes run", report_data(trace))


def report_data(trace: Trace) -> dict[str, Any]:
    """What the page shows, as JSON-ready values."""
    facts, stats, names = run_facts(trace), trace.stats, trace.token_texts
    figures = {name: kind.draw(trace, "light") for name, kind in ONE_RUN_FIGURES.items()}
    return {
        "run": {**facts._asdict(), "lossy": lossy_mark(facts.lossy_rule), "text": trace.text},
        "stats": stats.to_dict(),
        "given": [_given(token) for token in given_tokens(trace)],
        "steps": [_step(step, names) for step in all_steps(trace)],
        "columns": {name: column._asdict() for name, column in COLUMNS["steps"].items()},
        "rows": json.loads(steps_frame(trace).to_json(orient="values", double_precision=6)),
        "figures": plain_figures(figures),
        "templates": plain_templates(),
    }


def _given(token: GivenToken) -> dict[str, Any]:
    return {**token._asdict(), "draft_prob": None, "target_prob": None}


def _step(step: AnyStep, names: dict[int, str]) -> dict[str, Any]:
    """The tokens of a step, and the drafted ones that did not make it, which a server does not tell."""
    if isinstance(step, SeenStep):
        return _seen_step(step)
    drafted, committed = step.drafted, step.committed
    statuses = node_statuses(len(drafted.token_ids), step.accepted)
    lost = [node for node, status in enumerate(statuses) if status in ("rejected", "untested")]
    return {
        "step": step.number,
        "tokens": [
            {
                "text": committed.texts[index],
                "token_id": token_id,
                "source": committed.sources[index],
                "draft_prob": drafted.draft_probs[node] if node > 0 else None,
                "target_prob": (
                    entry(step.verified.target_probs, node) if node > 0 else step.accepted.next_prob
                ),
            }
            for index, (token_id, node) in enumerate(
                zip(committed.token_ids, committed.nodes, strict=True)
            )
        ],
        "lost": [
            {
                "text": names.get(drafted.token_ids[node], ""),
                "token_id": drafted.token_ids[node],
                "source": statuses[node],
                "draft_prob": drafted.draft_probs[node],
                "target_prob": entry(step.verified.target_probs, node),
            }
            for node in lost
        ],
    }


def _seen_step(step: SeenStep) -> dict[str, Any]:
    committed = step.committed
    return {
        "step": step.number,
        "tokens": [
            {
                "text": text,
                "token_id": None if token_id < 0 else token_id,
                "source": source,
                "draft_prob": None,
                "target_prob": entry(step.observed.target_probs, index),
            }
            for index, (token_id, text, source) in enumerate(
                zip(committed.token_ids, committed.texts, committed.sources, strict=True)
            )
        ],
        "lost": [],
    }
