"""Kept runs: a visitor's own, newest first, within limits, safe against odd names."""

import json
import os
import time
from pathlib import Path

import pytest

from app.runs.archive import Archive
from core.config import RunConfig
from core.errors import InvalidSettingError
from core.trace.file import Trace
from tests.app.scripted_engine import ScriptedEngine

VISITOR = "a" * 32
RESPONSES = Path(__file__).parents[2] / "visualize" / "imports" / "files" / "vllm-responses.jsonl"


def trace_of(prompt: str = "Hi", num_tokens: int = 6) -> Trace:
    engine = ScriptedEngine()
    config = RunConfig(mode="ngram", max_new_tokens=num_tokens)
    asked = engine.chat_prompt([{"role": "user", "content": prompt}])
    return Trace(list(engine.run(asked, config, should_stop=bool)))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, max_runs=3)


def test_a_kept_run_is_read_back_whole(archive: Archive) -> None:
    trace = trace_of()
    run = archive.keep(VISITOR, "run-number-1", trace)
    assert archive.trace(VISITOR, "run-number-1") == trace
    assert (run.name, run.mode, run.num_tokens, run.outcome) == ("Hi", "ngram", 6, "length")
    assert archive.runs(VISITOR) == [run]


def test_visitors_see_their_own_runs_only(archive: Archive) -> None:
    archive.keep(VISITOR, "run-number-1", trace_of())
    assert archive.runs("b" * 32) == []
    assert archive.trace("b" * 32, "run-number-1") is None


def test_the_oldest_runs_make_room(archive: Archive) -> None:
    for number in range(5):
        archive.keep(VISITOR, f"run-number-{number}", trace_of())
    assert [run.run_id[-1] for run in archive.runs(VISITOR)] == ["4", "3", "2"]
    assert archive.trace(VISITOR, "run-number-0") is None


def test_runs_beyond_the_age_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path, max_age_days=1)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s - 2 * 24 * 3600)
    archive.keep(VISITOR, "an-old-run", trace_of())
    monkeypatch.undo()
    archive.keep(VISITOR, "a-new-run", trace_of())
    assert [run.run_id for run in archive.runs(VISITOR)] == ["a-new-run"]


def test_a_run_gets_another_name_but_no_empty_one(archive: Archive) -> None:
    archive.keep(VISITOR, "run-number-1", trace_of())
    archive.rename(VISITOR, "run-number-1", "  Two   words ")
    assert archive.runs(VISITOR)[0].name == "Two words"
    with pytest.raises(InvalidSettingError, match="empty"):
        archive.rename(VISITOR, "run-number-1", " ")


def test_a_deleted_run_is_gone(archive: Archive, tmp_path: Path) -> None:
    archive.keep(VISITOR, "run-number-1", trace_of())
    archive.delete(VISITOR, "run-number-1")
    archive.delete(VISITOR, "run-number-1")
    assert archive.runs(VISITOR) == []
    assert list((tmp_path / VISITOR).iterdir()) == []


@pytest.mark.parametrize("run_id", ["../secret", "a/b/c/d/e/f", "", "x" * 100, "..%2f..%2fetc"])
def test_an_id_is_never_a_path(archive: Archive, run_id: str) -> None:
    with pytest.raises(InvalidSettingError, match="no such run"):
        archive.trace(VISITOR, run_id)
    with pytest.raises(InvalidSettingError, match="no such run"):
        archive.delete(VISITOR, run_id)


def test_a_broken_description_hides_its_run_and_no_other(archive: Archive, tmp_path: Path) -> None:
    archive.keep(VISITOR, "run-number-1", trace_of())
    (tmp_path / VISITOR / "broken-one.json").write_text('{"half":', "utf-8")
    (tmp_path / VISITOR / "other-one.json").write_text('{"unknown": 1}', "utf-8")
    assert len(archive.runs(VISITOR)) == 1


def test_an_adopted_trace_gets_an_id_of_its_own(archive: Archive) -> None:
    first = archive.adopt(VISITOR, trace_of(), "saved.jsonl")
    second = archive.adopt(VISITOR, trace_of(), "saved.jsonl")
    assert first.run_id != second.run_id
    assert first.name == "saved.jsonl"
    assert os.sep not in first.run_id


def test_a_run_described_by_another_version_is_described_anew(
    archive: Archive, tmp_path: Path
) -> None:
    """Such runs once vanished from the list."""
    run = archive.keep(VISITOR, "run-number-1", trace_of(), "My run")
    path = tmp_path / VISITOR / "run-number-1.json"
    path.write_text(json.dumps({"name": "My run", "kept_at_s": run.kept_at_s, "old": 1}))
    assert archive.runs(VISITOR) == [run]
    path.write_text("{")
    named = archive.runs(VISITOR)[0]
    assert (named.name, named.num_tokens) == ("Hi", 6)
    (tmp_path / VISITOR / "run-number-1.jsonl").write_text("no trace")
    path.write_text("{}")
    assert archive.runs(VISITOR) == []


def test_a_file_of_another_program_is_described_anew_as_well(
    archive: Archive, tmp_path: Path
) -> None:
    run = archive.adopt_import(VISITOR, RESPONSES.read_bytes(), "responses")
    path = tmp_path / VISITOR / f"{run.run_id}.json"
    path.write_text(json.dumps({"name": "responses", "kept_at_s": run.kept_at_s, "old": 1}))
    assert archive.runs(VISITOR) == [run]


def test_a_profile_is_told_apart_by_the_mode_that_it_is_of(archive: Archive) -> None:
    engine = ScriptedEngine()
    config = RunConfig.from_dict({"mode": "sd-eagle", "max_new_tokens": 6})
    profile = Trace(list(engine.profile(engine.raw_prompt("Hi"), config, should_stop=bool)))
    assert archive.keep(VISITOR, "run-number-1", profile).profiled == "sd-eagle"
    assert archive.keep(VISITOR, "run-number-2", trace_of()).profiled == ""


def test_a_trace_that_does_not_open_leaves_the_others_readable(
    archive: Archive, tmp_path: Path
) -> None:
    archive.keep(VISITOR, "run-number-1", trace_of())
    archive.keep(VISITOR, "run-number-2", trace_of("Ho"))
    (tmp_path / VISITOR / "run-number-1.jsonl").write_text("no trace")
    assert archive.readable(VISITOR) == ([trace_of("Ho")], 1)
