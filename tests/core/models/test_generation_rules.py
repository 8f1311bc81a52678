"""What a generation_config.json asks for beside what is applied is told, not left out in silence."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.loading.loading import load_model
from core.models.generation_rules import unapplied_rules
from tests.tiny_folder import save_tiny_model


def saved(folder: Path, **rules: Any) -> str:
    name = save_tiny_model(folder)
    (folder / "generation_config.json").write_text(json.dumps(rules), "utf-8")
    return name


def test_a_penalty_is_named_beside_runs_and_in_traces(tmp_path: Path) -> None:
    model = load_model(saved(tmp_path / "model", repetition_penalty=1.1, no_repeat_ngram_size=3))
    for note in (model.note, model.identity.note):
        assert "asks for no_repeat_ngram_size 3, repetition_penalty 1.1, which no run here" in note
        assert note.endswith("What can be applied is a setting: --repetition-penalty 1.1.")


def test_what_no_setting_applies_is_told_without_one(tmp_path: Path) -> None:
    note = unapplied_rules(Path(saved(tmp_path / "model", suppress_tokens=[3])))
    assert "asks for suppress_tokens [3], which" in note and "setting" not in note


@pytest.mark.parametrize(
    "rules", [{}, {"repetition_penalty": 1.0, "num_beams": 1}, {"temperature": 0.7, "top_k": 20}]
)
def test_what_changes_nothing_or_is_a_setting_here_is_not_told(
    rules: dict[str, Any], tmp_path: Path
) -> None:
    assert load_model(saved(tmp_path / "model", **rules)).note == ""


def test_a_folder_without_the_file_asks_for_nothing(tmp_path: Path) -> None:
    assert unapplied_rules(tmp_path) == ""
