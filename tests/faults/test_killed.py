"""kill -9 in the middle of the work: what was committed stays, the next start heals."""

import json
from pathlib import Path

import pytest

from app.server.paths import PREFIX
from core.trace.file import load_trace
from tests.core.train.conftest import chat_folder, data_folder  # noqa: F401
from tests.core.train.test_training import losses_of, options_of
from tests.faults.killed import finish, kill_once, start, start_server
from tests.fuzz.served_targets import NUM_TOKENS, answer_of
from tests.page_client import PageClient
from tests.tiny_folder import save_tiny_model
from tests.visualize.strategies import written
from tests.visualize.trace_builder import CHAIN, FORK, make_trace

pytestmark = pytest.mark.slow


def test_a_server_killed_in_the_middle_of_an_answer_keeps_what_it_wrote(tmp_path: Path) -> None:
    home, target = tmp_path / "cache", save_tiny_model(tmp_path / "target")
    process, address = start_server(home, target)
    client = PageClient(address)
    whole = answer_of(client)["run"]
    trace = client.http.get(f"/{PREFIX}/runs/{whole}/trace.jsonl").text
    cookies = client.http.cookies
    seen = 0
    changed = {"message": "Go on", "setting-mode": "naive", "setting-max-new-tokens": 470}
    for text in client.stream("send", **changed):
        seen += sum(len(event.get("texts", [])) for event in json.loads(text)["events"]
                    if event["kind"] == "committed")  # fmt: skip
        if seen:
            process.kill()
            process.wait()
            break
    client.close()
    process, address = start_server(home, target)
    client = PageClient(address)
    client.http.cookies = cookies
    cut_off, ended = client.http.get(f"/{PREFIX}/archive.json").json()["runs"]
    assert (cut_off["outcome"], cut_off["name"]) == ("cut off", "Go on")
    assert seen <= cut_off["num_tokens"] < 470
    assert (ended["run_id"], ended["num_tokens"]) == (whole, NUM_TOKENS)
    assert client.http.get(f"/{PREFIX}/runs/{whole}/trace.jsonl").text == trace
    message = client.http.get(f"/{PREFIX}/archive/{cut_off['run_id']}/message.json").json()
    assert message["status"]["text"] == "Cut off"
    assert answer_of(client)["stats"]["num_tokens"] == NUM_TOKENS
    assert not list(home.rglob("*.open"))
    client.close()
    process.kill()
    process.wait()


def test_a_command_killed_before_its_end_leaves_no_half_trace(tmp_path: Path) -> None:
    target, path = save_tiny_model(tmp_path / "target"), tmp_path / "run.jsonl"
    words = ["-m", "core.generate", "--prompt", "hello", "--target", target, "--no-compile",
             "--max-new-tokens", "200", "--trace", str(path)]  # fmt: skip
    process = start(tmp_path / "cache", *words)
    assert process.stdout is not None
    process.stdout.read(20)  # the answer has begun
    process.kill()
    process.wait()
    assert not path.exists()
    finish(tmp_path / "cache", *words)
    assert load_trace(path).stats.num_tokens == 200


def test_a_trace_killed_in_the_middle_of_its_writing_is_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(old := written(make_trace(CHAIN)), encoding="utf-8")
    code = (
        "from pathlib import Path; from core.trace.file import save_trace\n"
        "from tests.visualize.trace_builder import CHAIN, FORK, make_trace\n"
        f"trace = make_trace(*[CHAIN, FORK] * 20_000)\nsave_trace(trace, Path({str(path)!r}))"
    )
    part = path.with_name("run.jsonl.part")
    process = start(tmp_path, "-c", code)
    kill_once(process, lambda: part.exists() and part.stat().st_size > 0)
    assert path.read_text("utf-8") == old
    finish(tmp_path, "-c", code.replace("20_000", "20"))
    assert load_trace(path).stats.num_tokens == make_trace(*[CHAIN, FORK] * 20).stats.num_tokens


def test_a_training_that_is_killed_goes_on(
    chat_folder: str, data_folder: Path, tmp_path: Path
) -> None:
    def words(out: Path) -> list[str]:
        options = options_of(chat_folder, data_folder, out, 100)
        small = ["--hidden-size", "32", "--num-layers", "1"]
        return ["-m", "core.train.train_draft", *options, "--evaluate-every", "20", *small]

    out = tmp_path / "killed"
    process = start(tmp_path / "cache", *words(out))
    kill_once(process, (out / "checkpoint.pt").exists)
    (out / "curves" / "curve.csv").open("a").write("39,loss,0.1")  # a kill in the middle of a row
    assert "goes on at step" in finish(tmp_path / "cache", *words(out))
    finish(tmp_path / "cache", *words(tmp_path / "whole"))
    assert losses_of(out)[-1] == losses_of(tmp_path / "whole")[-1]
    assert not list(out.glob("*.part"))
    (out / "checkpoint.pt").write_bytes(b"broken")
    process = start(tmp_path / "cache", *words(out))
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 2 and "delete it to start anew" in printed


@pytest.mark.model
def test_a_conversion_that_is_killed_is_done_anew_and_leaves_nothing(tmp_path: Path) -> None:
    from core.runtime.storage import cache_home

    home = tmp_path / "cache"
    (packaged,) = (cache_home() / "packaged" / "smollm2-135m").glob("*.gguf")
    model = tmp_path / "model.gguf"
    model.symlink_to(packaged)
    code = (
        "from core.models.sources import find_model\n"
        "from core.runtime.storage import no_progress\n"
        f"find_model({str(model)!r}, no_progress).folder"
    )
    words = ["-c", code]
    converted = home / "converted"
    process = start(home, *words)
    kill_once(process, lambda: bool(list(converted.glob("*.part/*"))))
    assert not [path for path in converted.iterdir() if path.is_dir() and path.suffix != ".part"]
    finish(home, *words)
    assert [path.suffix for path in converted.iterdir() if path.is_dir()] == [""]
