"""The comparison on the default model and the project's own questions."""

import json
from pathlib import Path

import pytest

from core.benchmark import compare

pytestmark = pytest.mark.slow


def test_two_questions_are_answered_alike_by_plain_ngram_and_transformers(
    tmp_path: Path,
) -> None:
    path = tmp_path / "figures.json"
    words = ["--modes", "ngram", "--with-transformers", "--dtype", "float32"]
    more = ["--limit", "2", "--max-new-tokens", "16", "--json", str(path)]
    assert compare.main([*words, *more]) == 0
    rows = json.loads(path.read_text(encoding="utf-8"))["summary"]
    whole = {row["runner"]: row for row in rows if row["category"] == "all"}
    assert list(whole) == ["naive", "ngram", "transformers", "transformers lookup"]
    for row in whole.values():
        assert row["num_identical"] == row["num_compared"] == row["num_answers"] == 4
        assert row["tokens_per_s"] > 0 and row["ratio"]["low"] > 0
