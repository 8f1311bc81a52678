from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidSettingError
from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, Node, make_trace
from visualize.columns import COLUMNS
from visualize.exports import GUARDED, export_csv, read_csv, write_frame
from visualize.figures.compare_summary import compare_summary_info
from visualize.figures.style import info_frame
from visualize.figures.tokens_over_time import tokens_over_time_info
from visualize.frames import table_frame

TABLES = list(COLUMNS)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_several_runs_reads_back_as_it_was(table: str, tmp_path: Path) -> None:
    traces = [
        make_trace(CHAIN, FORK, run_id="-dashed"),
        make_trace(PLAIN, mode="naive", run_id="run-2", end="failed"),
        make_trace(CHAIN._replace(recorded=False), run_id="run-3", end=None),
    ]
    path = tmp_path / "table.csv"
    export_csv(traces, path, table)
    pd.testing.assert_frame_equal(read_csv(path, table), table_frame(traces, table))


def test_a_table_that_an_editor_saved_anew_reads_back(tmp_path: Path) -> None:
    trace = make_trace(CHAIN, texts={10: "a\u2028b\x85"})
    path = tmp_path / "table.csv"
    export_csv(trace, path, "tokens")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(read_csv(path, "tokens"), table_frame([trace], "tokens"))


@pytest.mark.parametrize("table", TABLES)
def test_an_empty_trace_gives_columns_with_types(table: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    export_csv(Trace(), path, table)
    frame = read_csv(path, table)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        name: column.dtype for name, column in COLUMNS[table].items()
    }


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|'/C calc'!A0",
        "+1",
        "-1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\uff1d1",
        "'quoted'",
        "''",
        'a "quoted", word\r\nand a line',
        "\U0001f600 é \u2028",
        "a\x00b",
        "\x00",
        "NA",
        "null",
        "",
        " ",
        "1.50",
    ],
)
def test_any_text_survives_and_no_cell_starts_a_formula(text: str, tmp_path: Path) -> None:
    trace = make_trace(PLAIN, texts={30: text})
    path = tmp_path / "tokens.csv"
    export_csv(trace, path, "tokens")
    assert read_csv(path, "tokens")["text"].tolist() == [text]
    in_the_cell = pd.read_csv(path, keep_default_na=False, dtype=str)["text"][0]
    assert not in_the_cell.startswith(tuple(set(GUARDED) - {"'"}))


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_random_texts_survive(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    steps = [PLAIN._replace(next_token_id=number) for number in range(len(texts))]
    trace = make_trace(*steps, texts=dict(enumerate(texts)))
    path = tmp_path_factory.getbasetemp() / "random.csv"
    export_csv(trace, path, "tokens")
    assert read_csv(path, "tokens")["text"].tolist() == texts


@given(probs=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
def test_random_floats_survive_to_the_last_bit(
    probs: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    nodes = tuple(Node(5, 0, draft_prob=prob) for prob in probs)
    trace = make_trace(PLAIN._replace(nodes=nodes))
    path = tmp_path_factory.getbasetemp() / "floats.csv"
    export_csv(trace, path, "nodes")
    assert read_csv(path, "nodes")["draft_prob"].tolist() == probs


def test_a_text_that_utf8_cannot_hold_does_not_stop_the_export(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    export_csv(make_trace(PLAIN, prompt_text="a\ud800b"), path, "runs")
    assert read_csv(path, "runs")["prompt_text"].tolist() == ["a?b"]


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="'words'; give one of runs, steps"):
        export_csv(Trace(), tmp_path / "x.csv", "words")
    with pytest.raises(InvalidSettingError, match="'words'; give one of runs, steps"):
        read_csv(tmp_path / "x.csv", "words")


def test_a_table_of_another_version_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text('"run_id","mode"\n"a","ngram"\n', encoding="utf-8")
    with pytest.raises(InvalidSettingError, match="lacks the columns lossy_rule, started_at, "):
        read_csv(path, "runs")


def test_data_of_a_figure_is_written_with_guarded_names(tmp_path: Path) -> None:
    info = tokens_over_time_info([make_trace(PLAIN, mode="=1+1")])
    path = tmp_path / "figure.csv"
    write_frame(info_frame(info), path)
    assert path.read_text("utf-8").splitlines()[:2] == [
        '"run","t_s","num_tokens"',
        '"\'=1+1",0.0,0',
    ]


def test_missing_numbers_of_a_figure_are_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "figure.csv"
    write_frame(info_frame(compare_summary_info([make_trace(PLAIN)])), path)
    assert path.read_text("utf-8").splitlines()[1].split(",")[4] == '""'
