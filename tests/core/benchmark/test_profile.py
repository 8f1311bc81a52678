"""The command that makes profiles and predicts from them, on a tiny model."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.benchmark import profile
from core.benchmark.profile_report import outlook_tables, outlooks
from core.benchmark.profile_runs import MadeProfile
from core.profile.circumstance import Circumstance
from core.profile.profile import profile_of
from core.trace.events import ProfileStarted
from core.trace.file import Trace, save_trace
from tests.test_structure import ROOT
from tests.visualize.trace_builder import make_profile_trace


def test_profiles_are_made_checked_written_and_read_again(
    common: list[str], tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "html", "markdown")}
    outputs = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    kept = ["--traces", str(tmp_path / "kept"), "--save-costs", str(tmp_path / "costs.json")]
    modes = "ngram,sd-classic:depth=3:fixed-size,sd-classic:depth=2:branching=2:fixed-size"
    words = [
        "--modes",
        modes,
        "--draft",
        str(tiny_home / "draft"),
        "--check",
        "--repeats",
        "3",
        "--limit",
        "2",
        *kept,
        *outputs,
    ]
    assert profile.main([*words, *kept, *outputs, *common]) == 0
    printed = capsys.readouterr().out
    assert "Predicted: the machine of the profiles" in printed
    assert "Real runs beside their prediction" in printed
    report = json.loads(files["json"].read_text(encoding="utf-8"))
    assert list(report["configs"]) == modes.split(",")
    fixed = [item for item in report["checks"] if item["settings"]["fixed_size"]]
    assert len(fixed) >= 2
    for item in fixed:
        assert item["num_equal"] == item["num_runs"] == 6
        assert (
            item["real"]["num_tokens"] == item["predicted"]["num_tokens"]
        )  # the median run of each
        assert item["pace"] > 0.0
        assert item["real"]["acceptance_length"] == item["predicted"]["acceptance_length"]
    rows = list(csv.DictReader(files["csv"].open(encoding="utf-8")))
    assert {row["mode"] for row in rows} == set(modes.split(","))
    settings = [row for row in rows if not row["by"]]
    assert {row["num_missing"] for row in settings} == {"0"}
    categories = [row for row in rows if row["by"] == "category"]
    assert len(categories) == 2 * len(modes.split(","))
    assert "By kind of token (the machine of the profiles)" in printed
    for mode in modes.split(","):
        own = [group for group in report["groups"] if group["mode"] == mode]
        given = next(item["given"] for item in report["predictions"] if item["mode"] == mode)
        for by in ("category", "kind", "position", "context"):
            groups = [group for group in own if group["by"] == by]
            for name in ("num_tokens", "num_accepted", "num_steps"):
                assert sum(group[name] for group in groups) == given[name]
    for curves in report["curves"]:
        assert [line["mode"] for line in curves["lines"]] == modes.split(",")
        assert len(curves["winners"]) == len(curves["values"]) == 7
    for line, item in zip(report["curves"][0]["lines"], report["predictions"], strict=True):
        most = 1.001 * item["best"]["tokens_per_s"]
        assert 0.999 * item["given"]["tokens_per_s"] <= line["tokens_per_s"][0] <= most
    assert "<title>SpecDecodes profiles</title>" in files["html"].read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "kept").glob("*.jsonl")) == sorted(
        f"{mode}-{number}.jsonl"
        for mode in ("ngram", "sd-classic-1", "sd-classic-2")
        for number in (1, 2)
    )
    again = [
        "--read", str(tmp_path / "kept"), "--costs", str(tmp_path / "costs.json"),
        "--costs", "h100-7b", "--sizes", "1,8", "--json", str(tmp_path / "again.json"),
        "--accept-scale", "1,0",
    ]  # fmt: skip
    assert profile.main(again) == 0
    whole = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    groups = [group for group in report["groups"] if group["by"] == "category"]
    assert {group["group"] for group in whole["groups"] if group["by"] == "category"} == {
        group["group"] for group in groups
    }
    for item in whole["predictions"]:
        if item["accept_scale"] == 0:
            assert item["given"]["num_accepted"] == 0
    read = [item for item in whole["predictions"] if item["accept_scale"] == 1]
    assert {item["mode"] for item in read} == {"ngram", "sd-classic", "sd-classic (2)"}
    assert {item["batch"] for item in read} == {1, 8}
    made = {item["mode"]: item["given"] for item in report["predictions"]}
    own = {item["mode"]: item["given"] for item in read if "H100" not in item["costs"]}
    assert own["sd-classic"]["num_steps"] == made[modes.split(",")[1]]["num_steps"]
    assert own["sd-classic (2)"]["num_steps"] == made[modes.split(",")[2]]["num_steps"]


def test_profiles_are_read_without_torch(tmp_path: Path) -> None:
    save_trace(make_profile_trace(), tmp_path / "sd-eagle-1.jsonl")
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers'): sys.modules[name] = None\n"
        "from core.benchmark.profile import main\n"
        f"sys.exit(main(['--read', {str(tmp_path)!r}]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "sd-eagle" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no modes are given"),
        (["--modes", "naive"], "no mode of these drafts"),
        (["--modes", "ngram", "--repeats", "2"], "repeats is 2"),
        (["--modes", "ngram", "--sizes", "0"], "sizes has '0'"),
        (["--modes", "ngram", "--costs", "h9"], "costs is 'h9'"),
        (["--modes", "ngram", "--accept-scale", "-1"], "accept-scale has '-1'"),
        (["--modes", "ngram", "--accept-scale", "much"], "accept-scale has 'much'"),
        (["--modes", "sd-mode"], "mode is 'sd-mode'"),
        (
            ["--modes", "ngram", "--temp", "1", "--accept", "rejection"],
            "accept is rejection, whose text hangs on what is drafted",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], message: str, common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert profile.main([*words, *common]) == 2
    assert message in capsys.readouterr().err


def test_categories_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_trace(make_profile_trace(), tmp_path / "sd-eagle-1.jsonl")
    (tmp_path / "categories.json").write_text("[1]", encoding="utf-8")
    assert profile.main(["--read", str(tmp_path)]) == 2
    assert "holds no categories by question ids" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "holds no profiles"),
        (["--check"], "--check is for profiles that are made"),
        (["--limit", "2"], "--limit is for profiles that are made"),
        (["--depth", "2"], "--depth is for profiles that are made"),
    ],
)
def test_reading_takes_no_options_of_making(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert profile.main(["--read", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_where_a_device_does_the_steps_the_tables_say_what_their_times_are() -> None:
    trace = make_profile_trace()
    on_device = Trace(
        [
            replace(event, device_steps=True) if isinstance(event, ProfileStarted) else event
            for event in trace.events
        ]
    )
    notes = []
    for each in (trace, on_device):
        made = MadeProfile("sd-eagle", 1, "", each, profile_of(each), 0.0)
        table = outlook_tables(outlooks([made], [Circumstance("own", None, 1)]))[0]
        notes.append(table.note)
    assert "no pace of a run" not in notes[0]
    assert "no pace of a run" in notes[1]
