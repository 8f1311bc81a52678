"""Files of other programs among a visitor's kept runs, and runs beside them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from core.errors import InvalidSettingError

if TYPE_CHECKING:
    from app.messages import Beside
    from app.runs.run_finder import RunFinder
    from visualize.imports.records import Source

MOST_BESIDE = 8


def read_sources(data: bytes, name: str) -> "list[Source]":
    """See `visualize.imports.reading.read_import`."""
    from visualize.imports.reading import read_import

    return read_import(data, name)


def describe_sources(sources: "Sequence[Source]") -> dict[str, Any]:
    """What the list of kept runs shows of a file; of several benchmarks in it, how many they are."""
    from visualize.imports.tables import import_frame

    frame = import_frame(sources)
    row = frame.astype(object).where(frame.notna(), None).iloc[0]
    is_one = len(sources) == 1
    failed = f", {row['num_failed']} failed" if row["num_failed"] else ""
    answers = "" if row["num_answers"] is None else f"{row['num_answers']} answers{failed}"
    numbers = {
        "num_tokens": "num_tokens",
        "num_tested": "num_drafted",
        "acceptance_rate": "acceptance_rate",
        "acceptance_length": "acceptance_length",
        "drafted_length": "drafted_length",
        "tokens_per_s": "tokens_per_s",
    }
    return {
        "mode": row["format"],
        "profiled": "",
        "lossy_rule": "",
        "target": ", ".join(dict.fromkeys(filter(None, frame["model"]))),
        "device": "",
        "prompt": "",
        "started_at": "",
        "outcome": answers if is_one else f"{len(sources)} benchmarks",
        **{name: row[column] if is_one else None for name, column in numbers.items()},
    }


def sources_of(finder: "RunFinder", visitor: str, ids: Sequence[str]) -> "list[Source]":
    """Kept files and runs as sources of the same tables; raises InvalidSettingError where one of them
    is not there, or they are too many."""
    from visualize.imports.beside import told_apart, trace_sources

    if not 1 <= len(ids) <= MOST_BESIDE:
        raise InvalidSettingError(f"{len(ids)} files are chosen; choose 1 to {MOST_BESIDE}.")
    sources: list[Source] = []
    for run_id in ids:
        found = finder.archive.sources(visitor, run_id)
        if found is None:
            run = finder.find(visitor, run_id)
            if run is None:
                raise InvalidSettingError("A chosen run is not kept any more; choose others.")
            found = trace_sources([run.trace])
        sources += found
    return told_apart(sources)


def beside(sources: "Sequence[Source]", theme: Literal["light", "dark"]) -> "Beside":
    """Tables of texts, and those figures that the sources have something for."""
    import json

    from visualize.figures.catalogue import SOURCE_FIGURES
    from visualize.imports.words import word_tables

    drawn = {name: kind.draw(sources, theme) for name, kind in SOURCE_FIGURES.items()}
    return {
        "names": [source.name for source in sources],
        "tables": [
            {
                "name": table.name,
                "title": table.title,
                "columns": table.columns,
                "rows": table.rows,
                "note": table.note,
            }
            for table in word_tables(sources)
        ],
        "figures": {name: json.loads(each.to_json()) for name, each in drawn.items() if each.data},
    }
