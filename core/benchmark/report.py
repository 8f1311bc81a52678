"""A comparison as one object for JSON, as a CSV, and the line under its tables."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.benchmark.load import Load
from core.benchmark.measurement import Measurement
from core.benchmark.named_configs import NamedConfig
from core.benchmark.summary import pause_times, summarize
from core.benchmark.tables import csv_text
from core.runtime.strict_json import dumps
from core.trace.stamps import utc_now

if TYPE_CHECKING:
    from core.benchmark.bench import BenchDescription

VERSION = 2


def make_report(
    arguments: Sequence[str],
    benches: Sequence["BenchDescription"],
    configs: Sequence[NamedConfig],
    measurements: Sequence[Measurement],
    loads: Sequence[Load] = (),
) -> dict[str, Any]:
    """JSON-ready: how and where it was measured, the summary, the numbers of every answer, and those of
    several requests at once."""
    first = benches[0]
    devices = dict.fromkeys(bench.device for bench in benches)
    workers = f"{len(benches)} workers, each on " if len(benches) > 1 else ""
    return {
        "kind": "specdecodes-comparison",
        "version": VERSION,
        "command": shlex.join(["python", "-m", "core.benchmark.compare", *arguments]),
        "finished_at": utc_now(),
        "device": workers + " or ".join(devices),
        "versions": first.versions,
        "target": first.target,
        "configs": {label: config.to_dict() for label, config in configs},
        "facts": {label: facts._asdict() for label, facts in first.facts.items()},
        "energy": first.energy,
        "peer_paces": {label: pace._asdict() for label, pace in first.peer_paces.items()},
        "question_ids": list(dict.fromkeys(item.question_id for item in measurements)),
        "summary": [row.to_dict() for row in summarize(measurements)],
        "loads": [load.to_dict() for load in loads],
        "answers": [item.to_dict() for item in measurements],
    }


def answers_csv(measurements: Sequence[Measurement]) -> str:
    """A row an answer: the numbers of `Measurement`, counters of its steps behind them."""
    rows = []
    for item in measurements:
        values = item.to_dict()
        stats = values.pop("stats") or {}
        origins = stats.pop("origins", {})
        if origins:
            stats["origins"] = dumps(origins)
        divergence = values.pop("divergence") or {}
        values |= values.pop("resources")
        pauses = pause_times(values.pop("pauses_s") or ())
        if pauses is not None:
            values |= {
                "num_pauses": pauses.num_pauses,
                "pause_p50_s": pauses.p50_s,
                "pause_p95_s": pauses.p95_s,
                "pause_p99_s": pauses.p99_s,
                "longest_pause_s": pauses.longest_s,
            }
        values["first_difference"] = divergence.get("position")
        rows.append({**values, **{f"stats.{name}": value for name, value in stats.items()}})
    return csv_text(rows)


def caption(report: dict[str, Any]) -> str:
    """What figures need beside them: model, number format, machine, versions, date, command."""
    target, versions = report["target"], report["versions"]
    day = report["finished_at"].partition("T")[0]
    return (
        f"{target['name']} in {target['dtype']}, {len(report['question_ids'])} questions, "
        f"{report['device']}, torch {versions['torch']}, "
        f"transformers {versions['transformers']}, {day}: `{report['command']}`"
    )
