"""The comparison command on a tiny model."""

import csv
import json
from pathlib import Path

import pytest

from core.benchmark import compare
from tests.core.benchmark.scripted_runner import interrupt_after


def test_a_comparison_measures_naive_and_all_that_is_asked(
    common: list[str], tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    words = ["--modes", "ngram,sd-classic,ngram", "--draft", str(tiny_home / "draft")]
    more = ["--with-transformers", "--json", str(path), "--min-match", "2"]
    assert compare.main([*words, *more, *common]) == 0
    names = [
        "naive", "ngram", "sd-classic",
        "transformers", "transformers lookup", "transformers assisted",
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    report = json.loads(path.read_text(encoding="utf-8"))
    assert list(report["configs"]) == names[:3]
    assert report["configs"]["ngram"]["drafter"]["min_match"] == 2
    assert report["configs"]["naive"]["drafter"] is None
    assert report["versions"]["torch"] and report["device"] and report["finished_at"]
    assert len(report["answers"]) == 4 * len(names)
    for row in report["summary"][: len(names)]:
        assert row["category"] == "all"
        assert row["num_identical"] == row["num_compared"] == 4
        assert row["num_tokens"] == 4 * 12


def test_one_mode_is_compared_under_several_settings(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = ["share-sd:bits=2:group-size=32:fixed-size", "share-sd:bits=8:group-size=32"]
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "html")}
    outputs = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    words = ["--modes", ",".join([*specs, "ngram"]), "--limit", "1", "--depth", "3", *outputs]
    assert compare.main([*words, *common]) == 0
    printed = capsys.readouterr().out
    assert all(spec in printed for spec in specs)
    configs = json.loads(files["json"].read_text(encoding="utf-8"))["configs"]
    assert list(configs) == ["naive", *specs, "ngram"]
    two, eight = (configs[spec]["drafter"] for spec in specs)
    assert (two["bits"], two["fixed_size"], two["depth"]) == (2, True, 3)
    assert (eight["bits"], eight["fixed_size"], eight["depth"]) == (8, False, 3)
    with files["csv"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["runner"] for row in rows[:4]] == ["naive", *specs, "ngram"]
    assert all(int(row["num_tokens"]) == 12 and row["error"] == "" for row in rows)
    page = files["html"].read_text(encoding="utf-8")
    assert specs[0] in page and "<script src" not in page


def test_markdown_is_printed_on_demand(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main(["--modes", "ngram", "--limit", "1", "--markdown", *common]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("**All questions**\n\n|  | tokens/s |")
    caption = printed.splitlines()[-1]
    assert "target in float32, 1 questions" in caption and "--modes ngram" in caption


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--modes", "magic"], "magic"),
        (["--modes", "share-sd:bits=x"], "share-sd:bits=x cannot be read"),
        (["--modes", "share-sd:magic=1"], "share-sd:magic=1 cannot be read"),
        (["--modes", "ngram:bits=3"], "--bits"),
        (["--modes", "ngram", "--bits", "3"], "--bits"),
        (["--modes", "ngram", "--repeats", "0"], "repeats is 0"),
        (["--modes", "ngram", "--limit", "0"], "limit is 0"),
        (["--modes", "ngram", "--categories", "poetry"], "poetry"),
        (["--modes", "ngram", "--json", "/"], "cannot be written"),
        (["--modes", "sd-classic"], "draft"),
    ],
)
def test_bad_input_to_a_comparison_is_one_sentence_and_status_2(
    common: list[str], words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([*words, *common]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.err.count("\n") == 1 and printed.out == ""


def test_an_interrupted_comparison_tells_what_it_has(
    common: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with interrupt_after(6):  # two of warming up, and two turns of two modes
        assert compare.main(["--modes", "ngram", *common]) == 130
    printed = capsys.readouterr()
    assert "stopped" in printed.err
    assert "2 of 2" in printed.out and "1 questions" in printed.out


def test_an_interrupt_before_the_first_question_is_one_line(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with interrupt_after(0):
        assert compare.main(["--modes", "ngram", *common]) == 130
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and printed.out == ""
