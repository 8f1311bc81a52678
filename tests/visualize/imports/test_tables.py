"""Tables and figures of files of other programs, and of traces beside them; unknown is never zero."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.errors import InvalidSettingError
from core.trace.file import save_trace
from tests.visualize.test_report import EVIL, ModelConfig
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, make_trace
from visualize.__main__ import main
from visualize.figures.acceptance_along_answers import acceptance_along_answers_info
from visualize.figures.acceptance_by_category import (
    acceptance_by_category_figure,
    acceptance_by_category_info,
)
from visualize.figures.acceptance_by_position import acceptance_by_position_info
from visualize.figures.accepted_counts import accepted_counts_info
from visualize.figures.catalogue import SOURCE_FIGURES
from visualize.imports.beside import load_sources, trace_sources
from visualize.imports.columns import IMPORT_COLUMNS
from visualize.imports.reading import load_import, read_import
from visualize.imports.records import Source
from visualize.imports.tables import import_frame
from visualize.imports.words import MOST_ROWS, UNKNOWN, word_tables
from visualize.report.imported import imports_html

FILES = Path(__file__).parent / "files"
NAMES = sorted(path.name for path in FILES.iterdir() if path.name != "README.md")


def of(*names: str) -> list[Source]:
    return [source for name in names for source in load_import(FILES / name)]


def row_of(sources: Sequence[Source], place: int = 0) -> dict[str, Any]:
    """A row of the table of sources, with None for what is empty."""
    frame = import_frame(sources)
    return dict(frame.astype(object).where(frame.notna(), None).iloc[place])


def test_counts_are_added_up_over_the_answers_that_tell_them() -> None:
    row = row_of(of("vllm-responses.jsonl"))
    assert (row["num_answers"], row["num_failed"], row["num_counted"]) == (3, 1, 2)
    assert (row["num_drafted_steps"], row["num_drafted"], row["num_accepted"]) == (5, 14, 8)
    assert row["acceptance_rate"] == pytest.approx(8 / 14)
    assert row["drafted_length"] == pytest.approx(1 + 8 / 5)
    assert row["num_tokens"] == 20
    # Two answers tell their pace: 16 tokens in 0.25 and 0.3 seconds.
    assert row["tokens_per_s"] == pytest.approx(16 / 0.55)
    assert row["request_tokens_per_s"] == pytest.approx(16 / (0.3125 + 0.3))
    for name in ("num_steps", "acceptance_length", "throughput", "gap_p50_ms"):
        assert row[name] is None


def test_what_a_benchmark_tells_of_itself_goes_before_what_its_answers_add_up_to() -> None:
    row = row_of(of("vllm-bench.json"))
    assert (row["num_answers"], row["num_failed"], row["num_counted"]) == (2, 1, None)
    assert (row["throughput"], row["first_token_p50_ms"]) == (10.0, 90.0)
    assert row["gap_p99_ms"] == pytest.approx(39.6)
    assert (row["acceptance_rate"], row["drafted_length"]) == (0.6, 2.8)
    assert row["request_tokens_per_s"] == pytest.approx(25 / 0.311)


def test_means_over_all_steps_are_those_of_all_answers_together() -> None:
    # 15 tokens in 8 steps; the mean of the answers' means would be 1.57.
    assert row_of(of("spec-bench.jsonl"))["acceptance_length"] == 1.875
    assert row_of(of("eagle.jsonl"))["acceptance_length"] == 3.0
    assert row_of(of("sglang-bench.jsonl"))["acceptance_length"] == 2.0


def test_a_trace_stands_beside_others_in_their_terms() -> None:
    sources = trace_sources([make_trace(CHAIN, FORK, PLAIN)])
    row = row_of(sources)
    # Three drafts of 2 and 1 accepted in the steps that had one, and 6 tokens in 3 steps.
    assert (row["num_steps"], row["num_drafted_steps"]) == (3, 2)
    assert (row["num_drafted"], row["num_accepted"]) == (6, 3)
    assert (row["acceptance_length"], row["drafted_length"]) == (2.0, 2.5)
    assert row["acceptance_rate"] == 0.5
    steps = import_frame(sources, "answer_steps")
    assert steps[["num_drafted", "num_accepted"]].values.tolist() == [[3, 2], [3, 1]]


def test_a_failed_trace_is_a_failed_answer() -> None:
    row = row_of(trace_sources([make_trace(CHAIN, end="failed")]))
    assert (row["num_answers"], row["num_failed"]) == (0, 1)
    assert row["num_accepted"] is None and row["num_tokens"] is None


@pytest.mark.parametrize("table", IMPORT_COLUMNS)
def test_every_table_has_its_columns_and_dtypes_of_every_file(table: str) -> None:
    for sources in ([], of(*NAMES)):
        frame = import_frame(sources, table)
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
            name: column.dtype for name, column in IMPORT_COLUMNS[table].items()
        }


def test_a_table_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match="give one of sources, answers"):
        import_frame([], "tokens")


def test_failed_answers_are_rows_of_which_nothing_else_is_known() -> None:
    frame = import_frame(of("speed-bench.json"), "answers")
    failed = frame[frame["error"] != ""]
    assert failed["answer"].tolist() == ["q4"]
    numbers = [name for name in frame if frame[name].dtype != "string"]
    assert failed[numbers].isna().all(axis=None)


def test_steps_by_accepted_tokens_and_shares_by_position() -> None:
    sources = of("vllm-bench.json", "llama-server-steps.log")
    info = accepted_counts_info(sources)
    assert info.source == ["vllm-bench.json"] * 4 + ["llama-server-steps.log"] * 4
    assert info.num_steps == [2, 2, 2, 4, 0, 1, 1, 3]
    assert info.share[:4] == [0.2, 0.2, 0.2, 0.4]
    positions = acceptance_by_position_info(sources)
    assert positions.position == [1, 2, 3, 1, 2, 3]
    # As the benchmark tells them itself: 0.8, 0.6, 0.4.
    assert positions.share == pytest.approx([0.8, 0.6, 0.4, 1.0, 0.8, 0.6])


def test_acceptance_along_the_answers_counts_those_that_are_so_long() -> None:
    info = acceptance_along_answers_info(of("spec-bench.jsonl", "eagle.jsonl"))
    assert info.step == [1, 2, 3, 4, 5]
    assert info.num_answers == [3, 2, 1, 1, 1]
    assert info.num_accepted == [2 / 3, 0.5, 3.0, 0.0, 1.0]


def test_acceptance_by_category_takes_the_answers_of_one_together() -> None:
    info = acceptance_by_category_info(of("spec-bench.jsonl", "speed-bench.json"))
    assert info.category == ["writing", "roleplay", "coding", "qa"]
    assert info.num_answers == [1, 2, 1 + 1, 1]
    assert info.acceptance_length == [2.2, pytest.approx(4 / 3), None, None]
    assert info.acceptance_rate == [None, None, pytest.approx(10 / 15), None]


def test_rates_are_drawn_where_no_file_tells_lengths() -> None:
    figure = acceptance_by_category_figure(acceptance_by_category_info(of("speed-bench.json")))
    assert figure.layout.yaxis.title.text == "accepted / drafted"


@pytest.mark.parametrize("name", SOURCE_FIGURES)
@pytest.mark.parametrize("names", [(), ("sglang-bench.jsonl",), NAMES])
def test_every_figure_renders_whatever_the_files_hold(name: str, names: Sequence[str]) -> None:
    for theme in ("light", "dark"):
        assert SOURCE_FIGURES[name].draw(of(*names), theme).to_json()  # type: ignore[arg-type]


def test_words_leave_out_what_is_unknown_of_all_and_dash_what_is_of_some() -> None:
    table = word_tables(of("sglang-bench.jsonl", "spec-bench.jsonl"))[0]
    rows = {name: cells for name, *cells in table.rows}
    assert table.columns == [
        "source", "sglang-bench.jsonl, line 1", "sglang-bench.jsonl, line 2", "spec-bench.jsonl",
    ]  # fmt: skip
    assert "num_drafted" not in rows and "num_drafted" in table.note
    assert rows["num_steps"] == [UNKNOWN, UNKNOWN, "8"]
    assert "SGLang bench: Each line is a whole benchmark." in table.note


def test_only_so_many_rows_become_words() -> None:
    line = (FILES / "eagle.jsonl").read_text(encoding="utf-8").splitlines()[0] + "\n"
    sources = read_import(line.encode() * (MOST_ROWS + 5), "x")
    table = next(table for table in word_tables(sources) if table.name == "answers")
    assert len(table.rows) == MOST_ROWS and "The first 1,000 of 1,005 rows" in table.note


def test_no_markup_of_a_file_reaches_the_report() -> None:
    lines = []
    for text in EVIL:
        values = json.loads((FILES / "spec-bench.jsonl").read_text("utf-8").splitlines()[0])
        lines.append(
            json.dumps({**values, "category": text, "question_id": text, "model_id": text})
        )
    sources = read_import(("\n".join(lines) + "\n").encode(), EVIL[1])
    evil, plain = ModelConfig(), ModelConfig()
    evil.feed(imports_html(sources))
    plain.feed(imports_html(of("spec-bench.jsonl")))
    assert evil.tags == plain.tags
    assert EVIL[0] in json.dumps(json.loads(evil.data)["tables"])
    # Plotly reads tags in its texts.
    assert "<script" not in json.dumps(json.loads(evil.data)["figures"])


def test_files_and_traces_are_told_apart_and_two_of_one_name_as_well(tmp_path: Path) -> None:
    trace = tmp_path / "run.jsonl"
    save_trace(make_trace(CHAIN), trace)
    sources = load_sources([trace, FILES / "eagle.jsonl", trace])
    assert [source.name for source in sources] == ["ngram", "eagle.jsonl", "ngram #2"]
    trace.write_text(trace.read_text("utf-8").replace('"num_rows"', '"rows"'), "utf-8")
    with pytest.raises(InvalidSettingError, match=r"^'run.jsonl', line \d+: verified lacks"):
        load_sources([trace])


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(FILES / "spec-bench.jsonl"), str(FILES / "vllm-bench.json")]
    assert main(given) == 0
    told = capsys.readouterr().out
    assert "num_drafted_steps     –                   10" in told
    assert main([*given, "--table", "answer_steps", "--csv", str(tmp_path / "steps.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "steps.csv")) == 8
    assert main([*given, "--html", str(tmp_path / "all.html")]) == 0
    assert "plotly" in (tmp_path / "all.html").read_text("utf-8")
    assert capsys.readouterr().out == ""
    assert main([str(FILES / "README.md")]) == 2
    assert "'README.md' is of no kind" in capsys.readouterr().err
    assert main([str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main([*given, "--csv", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main([given[1], "--table", "answer_steps"]) == 0
    assert capsys.readouterr().out == "These files hold nothing for the table answer_steps.\n"
