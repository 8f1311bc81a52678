"""The table of what rows cost."""

import json
from pathlib import Path

import pytest

from core.benchmark.row_costs import main


def test_every_setting_of_every_target_is_timed(
    tiny_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tiny_home / "target")
    words = ["--targets", target, "--weights", "full,q8", "--dtypes", "float32,bfloat16"]
    assert main([*words, "--context", "20", "--json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    found = [json.loads(line) for line in printed if line.startswith("{")]
    settings = [(cost["weights"], cost["dtype"]) for cost in found]
    assert settings == [(w, d) for w in ("full", "q8") for d in ("float32", "bfloat16")]
    for cost in found:
        assert cost["forward_ms"]["1"] > 0 and cost["num_bytes"] > 0
    assert found[2]["kernels"] == ["native int8, rows in 8 bits"]
    assert "rows in bf16" in found[1]["kernels"][0]
    assert len(printed) == 1 + 2 * len(found)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--context", "0"], "context is 0; give at least 1"),
        (["--context", "100000"], "the context is 100000 tokens and the target takes"),
        (["--weights", "q5"], "weights is 'q5'; give one of file, full, q4, q8"),
        (["--dtypes", "float8"], "dtype is 'float8'; give one of float32, bfloat16"),
    ],
)
def test_bad_options_are_told_in_one_sentence(
    options: list[str], sentence: str, tiny_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--targets", str(tiny_home / "target"), *options]) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1
