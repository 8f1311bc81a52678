"""Branches in tables, names, comparisons and reports."""

from pathlib import Path
from typing import Any

import pytest

from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, StepSpec, make_branch, make_trace
from visualize.compare import first_divergence, summary_frame
from visualize.exports import export_csv, read_csv
from visualize.figures.catalogue import RUN_FIGURES
from visualize.labels import run_labels
from visualize.report.page import report_html


@pytest.fixture
def parent() -> Trace:
    return make_trace(CHAIN, FORK)


@pytest.fixture
def branch(parent: Trace) -> Trace:
    return make_branch(parent, PLAIN, token_ids=[13], position=2)


def table(trace: Trace, name: str, folder: Path) -> Any:
    export_csv(trace, folder / "t.csv", name)
    return read_csv(folder / "t.csv", name)


def test_its_tables_tell_where_it_comes_from_and_its_whole_answer(
    parent: Trace, branch: Trace, tmp_path: Path
) -> None:
    runs = table(branch, "runs", tmp_path)
    assert runs["parent"].tolist() == ["run-1"]
    assert runs["forked_at"].tolist() == [2]
    assert runs["text"].tolist() == ["w10 w11 w13 w30 "]
    assert runs["num_tokens"].tolist() == [1]
    tokens = table(branch, "tokens", tmp_path)
    assert tokens["token_id"].tolist() == branch.token_ids == [10, 11, 13, 30]
    assert tokens["position"].tolist() == [0, 1, 2, 3]
    assert tokens["step"].tolist() == [0, 0, 0, 1]
    assert tokens["source"].tolist() == ["inherited", "inherited", "chosen", "plain"]
    assert "".join(tokens["text"]) == branch.text
    whole = table(parent, "runs", tmp_path)
    assert whole["parent"].tolist() == [""] and whole["forked_at"].isna().tolist() == [True]


def test_branches_and_their_parent_are_no_repeats_of_each_other(
    parent: Trace, branch: Trace
) -> None:
    other = make_branch(parent, PLAIN, token_ids=[14], position=2)
    assert run_labels([parent, branch]) == ["ngram", "ngram, branch at token 3"]
    assert summary_frame([parent, branch, other])["num_runs"].tolist() == [1, 1, 1]


def test_they_part_where_the_branch_was_forked(parent: Trace, branch: Trace) -> None:
    parted = first_divergence(parent, branch)
    assert parted is not None
    assert (parted.position, parted.reference_text, parted.other_text) == (2, "w12 ", "w13 ")
    assert parted.logit_gap is not None
    back = first_divergence(branch, parent)
    assert back is not None
    assert (back.position, back.logit_gap) == (2, None), (
        "nobody was asked for a token that is given"
    )


def test_behind_its_beginning_the_gap_is_that_of_its_own_steps(
    parent: Trace, branch: Trace
) -> None:
    other = make_branch(parent, StepSpec(next_token_id=31), token_ids=[13], position=2)
    parted = first_divergence(branch, other)
    assert parted is not None
    assert parted.position == 3 and parted.logit_gap is not None


def test_it_is_drawn_and_reported(branch: Trace) -> None:
    for kind in RUN_FIGURES.values():
        assert kind.draw(branch, "light").data
    page = report_html(branch)
    assert '"source": "chosen"' in page or '"source":"chosen"' in page
