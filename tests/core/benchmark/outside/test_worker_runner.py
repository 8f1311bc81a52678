"""Engines in a process of their own: what they are asked, and what is told where they cannot run."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.benchmark.measurement import Emission
from core.benchmark.outside.peer_target import PeerTarget
from core.benchmark.outside.peers import PEERS, Peer, Way
from core.benchmark.outside.worker_runner import peer_runners
from core.config import RunConfig, SamplingConfig
from core.decoding.run_start import Prompt
from core.errors import InvalidSettingError

# Counts on from the prompt's last token in steps of two, prints meanwhile, and breaks at 99.
COUNTING = """
def describe():
    return "counting 1.0"

def load(settings):
    if settings["gguf"] == "broken":
        raise ValueError("no such numbers")
    def answer(prompt, emit):
        last = prompt[-1]
        while True:
            if last == 99:
                raise RuntimeError("too far")
            print("a word on the way")
            if emit([last + place for place in range(1, settings["width"] + 1)]):
                return
            last += settings["width"]
    return answer
"""


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine in two ways."""
    script = tmp_path / "counting.py"
    script.write_text(COUNTING, encoding="utf-8")
    ways = (Way("", {"width": 1}), Way("wide", {"width": 3}))
    peer = Peer(str(script), "counting-engine", "its own", ways)
    monkeypatch.setitem(PEERS, "counting", peer)
    return script


@pytest.mark.usefixtures("counting")
def test_an_engine_answers_in_all_its_ways(gguf_target: PeerTarget, config: RunConfig) -> None:
    plain, wide = peer_runners("counting", "counting", sys.executable, gguf_target, config)
    assert (plain.label, wide.label) == ("counting", "counting wide")
    assert plain.facts.arithmetic == "its own (counting 1.0)"
    for runner in (plain, wide, plain):
        answer = runner.answer(Prompt("", [5, 6]))
        assert answer.token_ids == [7, 8, 9, 10], "as many as were asked for"
        assert answer.total_s == answer.emissions[-1].t_s > 0
    assert [item.num_tokens for item in plain.answer(Prompt("", [6])).emissions] == [1, 1, 1, 1]
    assert [item.num_tokens for item in wide.answer(Prompt("", [6])).emissions] == [3, 1]
    assert plain.answer(Prompt("", [99])).error == "RuntimeError: too far"
    assert plain.answer(Prompt("", [6])).error is None


@pytest.mark.usefixtures("counting")
def test_an_end_token_ends_an_answer_in_the_middle_of_a_step(
    gguf_target: PeerTarget, config: RunConfig
) -> None:
    ending = replace(gguf_target, end_token_ids=frozenset({8}))
    _, wide = peer_runners("counting", "counting", sys.executable, ending, config)
    answer = wide.answer(Prompt("", [6]))
    assert answer.token_ids == [7, 8]
    assert answer.emissions == [Emission(answer.total_s, 2)]


@pytest.mark.usefixtures("counting")
def test_what_an_engine_says_of_its_failure_is_told_with_the_way_to_install_it(
    gguf_target: PeerTarget, config: RunConfig
) -> None:
    broken = replace(gguf_target, source=replace(gguf_target.source, gguf=Path("broken")))
    with pytest.raises(InvalidSettingError, match=r"no such numbers.*pip install counting-engine"):
        peer_runners("counting", "counting", sys.executable, broken, config)


@pytest.mark.parametrize("name", ["llama-cpp", "openvino"])
@pytest.mark.parametrize("python", ["no-such-python", sys.executable])
def test_a_python_without_the_engine_is_told(
    gguf_target: PeerTarget, config: RunConfig, name: str, python: str
) -> None:
    with pytest.raises(InvalidSettingError, match=rf"cannot run {name} \(.*\); install it by `"):
        peer_runners(name, name, python, gguf_target, config)


def test_a_target_without_a_file_and_sampling_are_refused(
    target: PeerTarget, gguf_target: PeerTarget, config: RunConfig
) -> None:
    with pytest.raises(InvalidSettingError, match=r"is no GGUF file, which openvino needs"):
        peer_runners("openvino", "openvino", sys.executable, target, config)
    sampled = replace(config, sampling=SamplingConfig(do_sample=True))
    with pytest.raises(InvalidSettingError, match=r"greedy settings alone"):
        peer_runners("openvino", "openvino", sys.executable, gguf_target, sampled)
