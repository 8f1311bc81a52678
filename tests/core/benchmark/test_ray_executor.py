"""A comparison over a Ray cluster of two nodes on this machine, with a worker killed in the middle."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.benchmark import compare, run_mtbench

cluster_utils = pytest.importorskip(
    "ray.cluster_utils", reason="needs Ray: pip install -r requirements-ray.txt"
)
NUM_QUESTIONS = 24


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    cluster = cluster_utils.Cluster()
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=80 << 20, include_dashboard=False)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def many(tmp_path: Path) -> list[str]:
    """Options that ask many questions, so that there is a middle to be killed in."""
    path = tmp_path / "many.jsonl"
    lines = [
        {"question_id": number, "category": "chat", "turns": [f"go {number}", "on"]}
        for number in range(1, NUM_QUESTIONS + 1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return ["--questions", str(path), "--max-new-tokens", "40"]


def kill_a_worker_behind_the_first_line(
    path: Path, killed: list[int], is_over: threading.Event
) -> None:
    while not is_over.wait(0.02):
        if not (path.exists() and path.read_bytes().count(b"\n")):
            continue
        for process in psutil.process_iter(["cmdline"]):
            # Ray names a process after what it does.
            if (process.info["cmdline"] or [""])[0] == "ray::_Actor.work":
                process.kill()
                killed.append(process.pid)
                return


def test_a_worker_that_is_killed_in_the_middle_loses_nothing(
    address: str, common: list[str], many: list[str], tmp_path: Path
) -> None:
    words = ["--modes", "ngram:fixed-size", *common, *many]
    results, report = tmp_path / "results.jsonl", tmp_path / "report.json"
    killed: list[int] = []
    is_over = threading.Event()
    killer = threading.Thread(
        target=kill_a_worker_behind_the_first_line, args=(results, killed, is_over)
    )
    killer.start()
    more = ["--ray", address, "--results", str(results), "--json", str(report)]
    status = compare.main([*words, *more])
    is_over.set()
    killer.join()
    assert status == 0
    assert killed, "there was no worker to kill"
    asked = [json.loads(line)["question_id"] for line in results.read_text().splitlines()]
    assert sorted(asked) == list(range(1, NUM_QUESTIONS + 1)), "each once"
    spread = json.loads(report.read_text(encoding="utf-8"))
    assert re.match(r"[23] workers, each on ", spread["device"]), "one took the killed one's place"

    alone = tmp_path / "alone.json"
    assert compare.main([*words, "--limit", "2", "--json", str(alone)]) == 0
    told = {"runner", "question_id", "turn", "num_tokens", "is_compared", "divergence", "error"}
    here = json.loads(alone.read_text(encoding="utf-8"))["answers"]
    there = spread["answers"][: len(here)]
    assert [{name: item[name] for name in told} for item in there] == [
        {name: item[name] for name in told} for item in here
    ]


def test_the_question_runner_spreads_its_questions_too(
    address: str, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out-dir", str(tmp_path / "out"), "--log-dir", str(tmp_path / "log")]
    words = ["--mode", "ngram", "--fixed-size", "--ray", address, "--workers", "1", *common, *out]
    assert run_mtbench.main(words) == 0
    assert "3 of 3 questions" in capsys.readouterr().out
    assert (tmp_path / "log" / "target-ngram" / "1-2.jsonl").exists()


def test_what_a_worker_refuses_is_one_sentence(
    address: str, common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main(["--modes", "sd-classic", "--ray", address, *common]) == 2
    printed = capsys.readouterr()
    assert "draft" in printed.err and printed.err.count("\n") == 1 and printed.out == ""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--ray", "127.0.0.1:9"], "no Ray cluster at 127.0.0.1:9"),
        (["--device", "cuda"], "has no GPU"),
        (["--workers", "3"], "workers is 3 and the Ray cluster has 2 CPUs"),
    ],
)
def test_a_cluster_that_cannot_serve_is_one_sentence(
    address: str,
    common: list[str],
    words: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare.main(["--modes", "ngram", "--ray", address, *common, *words]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err and printed.err.count("\n") == 1
