"""Runs side by side as the page shows them: a table, a verdict for each, and the runs themselves."""

import json
from collections.abc import Sequence
from typing import Any

from app.messages import Comparison, Verdict
from app.runs.run_finder import record_of
from core.errors import InvalidSettingError
from core.trace.file import Trace

MOST_COMPARED = 16
"""Runs that are compared at once, kept ones as well as those that are made for it."""


def compare_traces(traces: Sequence[Trace]) -> Comparison:
    """Summary rows, verdicts against the first plain run (else the first), page messages and figures.

    Repeats of one setting share a row; only the first of them is raced.
    """
    from visualize.compare import PLAIN_MODE, first_divergence, is_plain, summary_frame
    from visualize.figures.catalogue import COMPARE_FIGURES
    from visualize.labels import repeat_key
    from visualize.report.document import plain_figures, plain_templates
    from visualize.run_facts import run_facts

    firsts: dict[Any, Trace] = {}
    for trace in traces:
        firsts.setdefault(repeat_key(trace), trace)
    raced = list(firsts.values())
    own = (trace for trace in raced if run_facts(trace).mode == PLAIN_MODE)
    reference = next(own, next(filter(is_plain, raced), raced[0]))
    rows = json.loads(summary_frame(traces).to_json(orient="records"))
    verdicts: list[Verdict] = []
    for trace in raced:
        try:
            parted = None if trace is reference else first_divergence(reference, trace)
            verdicts.append(
                {
                    "is_reference": trace is reference,
                    "num_compared": min(len(reference.token_ids), len(trace.token_ids)),
                    "divergence": None if parted is None else parted._asdict(),
                }
            )
        except InvalidSettingError as error:
            verdicts.append({"is_reference": False, "refused": str(error)})
    messages = [
        record_of(f"compared-{place}", trace).message(0)[0] for place, trace in enumerate(raced)
    ]
    figures = {
        name: kind.draw(traces, "light")
        for name, kind in COMPARE_FIGURES.items()
        if not kind.is_of_one
    }
    return {
        "rows": rows,
        "verdicts": verdicts,
        "runs": [json.loads(text) for text in messages],
        "figures": plain_figures(figures),
        "templates": plain_templates(),
    }
