"""A few questions, and the options of a run over them."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    lines = [
        {"question_id": 1, "category": "chat", "turns": ["ab ab ab", "cd"]},
        {"question_id": 2, "category": "edit", "turns": ["xyz xyz xyz"]},
        {"question_id": 3, "category": "edit", "turns": ["the end"]},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def common(tiny_home: Path, questions: Path) -> list[str]:
    return [
        "--target", str(tiny_home / "target"), "--dtype", "float32",
        "--questions", str(questions), "--max-new-tokens", "12",
    ]  # fmt: skip
