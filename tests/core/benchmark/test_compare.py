"""The comparison command on a tiny model."""

import csv
import json
import sys
from pathlib import Path

import pytest

from core.benchmark import compare
from tests.core.benchmark.completion_server import (
    Script,
    completion_server,
    text_event,
    usage_event,
)
from tests.core.benchmark.scripted_runner import interrupt_after
from tests.tiny_folder import byte_tokenizer


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
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "html", "markdown")}
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
    text = files["markdown"].read_text(encoding="utf-8")
    assert text.startswith("**All questions**\n\n|  | tokens/s |")
    assert "target in float32, 1 questions" in text.splitlines()[-1]


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
        (["--modes", "ngram", "--with", "magic"], "no engine 'magic'"),
        (["--modes", "ngram", "--with", "llama-cli"], "is no GGUF file, which llama-cli needs"),
        (["--modes", "ngram", "--with", "vllm=http://127.0.0.1:9"], "tells no model"),
        (["--modes", "ngram", "--workers", "2"], "--workers is no setting without --ray"),
        (["--modes", "ngram", "--ray", "--workers", "0"], "workers is 0"),
        (["--modes", "ngram", "--resume"], "--resume is no setting without --results"),
        (["--modes", "ngram", "--memory", "m.jsonl"], "memory has a file, and here each mode"),
        (["--modes", "ngram:memory=m.jsonl"], "memory has a file, and here each mode"),
        (["--modes", "ngram:memory", "--ray"], "memory is of one process"),
    ],
)
def test_bad_input_to_a_comparison_is_one_sentence_and_status_2(
    common: list[str], words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([*words, *common]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.err.count("\n") == 1 and printed.out == ""


def test_a_mode_with_a_memory_is_compared_with_itself_without(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    modes = ["ngram", "ngram:memory"]
    words = ["--modes", ",".join(modes), "--temp", "0.9", "--fixed-size", "--json", str(path)]
    assert compare.main([*words, "--repeats", "2", "--limit", "1", *common]) == 0
    capsys.readouterr()
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["configs"][modes[1]]["drafter"]["memory"] is True
    steps = {
        (answer["runner"], answer["repeat"]): answer["stats"]["num_steps"]
        for answer in report["answers"]
        if answer["turn"] == 1
    }
    assert steps[modes[0], 1] == steps[modes[0], 2]
    assert steps[modes[1], 2] < steps[modes[1], 1]


def test_a_server_is_asked_the_same_questions_and_its_failures_are_rows(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "html", "markdown")}
    outputs = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    first_prompt = byte_tokenizer().encode("user: ab ab ab\nassistant: ")
    # It answers the warm-up and the first turn, and refuses the second.
    script = Script([text_event("a"), text_event("b"), usage_event(2)], 400, 2, "out of cache")
    with completion_server(script) as url:
        words = ["--modes", "ngram", "--with", f"vllm={url}", "--limit", "1", *outputs]
        assert compare.main([*words, *common]) == 1
    report = json.loads(files["json"].read_text(encoding="utf-8"))
    whole = {row["runner"]: row for row in report["summary"] if row["category"] == "all"}
    vllm = whole["vllm"]
    assert (vllm["num_answers"], vllm["num_failed"], vllm["num_tokens"]) == (1, 1, 2)
    assert vllm["num_compared"] == 0 and vllm["peak_resident_bytes"] is None
    assert report["facts"]["vllm"]["weights"] == "as the server has them (tiny)"
    assert report["facts"]["naive"]["weights"] == "float32"
    why = "status 400: out of cache"
    for kind in ("csv", "html", "markdown"):
        text = files[kind].read_text(encoding="utf-8")
        assert why in text and "vllm" in text, kind
    printed = capsys.readouterr().out
    assert "Failed answers" in printed and "What differs" in printed
    _, first, second = (request["prompt"] for request in script.requests)
    assert first == first_prompt
    assert second[: len(first)] == first and len(second) > len(first)


def test_a_first_question_that_fails_is_a_row_and_the_others_are_asked(
    common: list[str], questions: Path, tmp_path: Path
) -> None:
    lines = questions.read_text(encoding="utf-8").splitlines()
    lines[0] = json.dumps({"question_id": 1, "category": "chat", "turns": ["x" * 600]})
    questions.write_text("\n".join(lines), encoding="utf-8")
    path = tmp_path / "figures.json"
    assert compare.main(["--modes", "ngram", "--json", str(path), *common]) == 1
    answers = json.loads(path.read_text(encoding="utf-8"))["answers"]
    failed = [item["question_id"] for item in answers if item["error"]]
    assert failed == [1, 1] and {item["question_id"] for item in answers} == {1, 2, 3}


def test_memory_is_told_for_each_runner_and_energy_or_why_there_is_none(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    assert compare.main(["--modes", "ngram", "--limit", "1", "--json", str(path), *common]) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    for row in report["summary"]:
        assert sys.platform != "linux" or row["peak_resident_bytes"] > 10e6
    printed = " ".join(capsys.readouterr().out.split())
    assert "Memory and energy" in printed and f"Energy: {report['energy']}." in printed
    has_energy = all(row["joules_per_token"] is not None for row in report["summary"])
    assert has_energy or "no energy of the processor: " in report["energy"]


def test_a_lossy_row_is_named_so_in_every_table_and_file(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label, csv_file = "ngram:accept=typical, lossy (typical)", tmp_path / "answers.csv"
    words = ["--modes", "ngram:accept=typical,ngram", "--do-sample", "--limit", "1"]
    assert compare.main([*words, "--csv", str(csv_file), *common]) == 0
    with csv_file.open(encoding="utf-8", newline="") as file:
        assert {row["runner"] for row in csv.DictReader(file)} == {"naive", "ngram", label}
    assert capsys.readouterr().out.count("lossy (typical)") >= 3


def test_results_are_written_as_they_come_and_resume_asks_the_rest(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, csv_file = tmp_path / "results.jsonl", tmp_path / "answers.csv"
    words = ["--modes", "ngram", "--results", str(results), "--csv", str(csv_file), *common]
    with interrupt_after(6):  # two of warming up, and two turns of two modes
        assert compare.main(words) == 130
    first = results.read_text(encoding="utf-8")
    assert [json.loads(line)["question_id"] for line in first.splitlines()] == [1]
    assert compare.main(words) == 2, "without --resume the file is left alone"
    assert compare.main([*words, "--resume"]) == 0
    text = results.read_text(encoding="utf-8")
    assert text.startswith(first)
    assert [json.loads(line)["question_id"] for line in text.splitlines()] == [1, 2, 3]
    with csv_file.open(encoding="utf-8", newline="") as file:
        rows = [(row["runner"], row["question_id"], row["turn"]) for row in csv.DictReader(file)]
    assert len(rows) == len(set(rows)) == 2 * 4
    with interrupt_after(0):  # nothing is asked where all is there, not even for warming up
        assert compare.main([*words, "--resume"]) == 0


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
