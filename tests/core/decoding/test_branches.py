"""Branches: what an answer would have been, had it gone another way at some token."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from core.acceptance.sampling import stream_seed
from core.attached.engine import AttachedEngine
from core.backends.cpu.library import Kernels
from core.config import RunConfig
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.drafters.suffix_memory import SuffixMemory
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import load_model
from core.trace.events import Committed, Prefilled, RunFailed, RunFinished, RunStarted
from core.trace.file import Trace, load_trace, save_trace
from core.trace.fork import Fork, fork_again, fork_of
from tests.core.conftest import run
from tests.core.decoding.test_corrected_modes import ENDS, SAMPLINGS, ending_of
from tests.core.decoding.test_modes import GREEDY, MODES, SAMPLED, TREE, mode_settings
from tests.scripted import ScriptedBackend, emitted, following, hashed_logits, run_loop

EngineOf = Callable[..., Engine]
LENGTH = 16
LAWS = {name: {**sampling, "min_new_tokens": LENGTH - 4} for name, sampling in SAMPLINGS.items()}


def branch(
    engine: Engine,
    parent: Trace,
    position: int,
    token_ids: int | Sequence[int],
    memory: SuffixMemory | None = None,
    **settings: Any,
) -> Trace:
    """The branch under the parent's settings, but for those that are given."""
    config = RunConfig.from_dict({**started_of(parent).config, **settings})
    prompt = engine.fork_prompt(fork_of(parent, position, token_ids))
    trace = Trace(list(engine.run(prompt, config, memory=memory)))
    assert not trace.first(RunFailed)
    return trace


def started_of(trace: Trace) -> RunStarted:
    started = trace.first(RunStarted)
    assert started is not None
    return started


@pytest.fixture
def engine(engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The shared engine, with ends of a text."""
    engine = engine_of()
    monkeypatch.setattr(engine, "target", replace(engine.target, eos_token_ids=ENDS))
    return engine


@pytest.mark.parametrize("sampling", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("mode", ["naive", *MODES])
def test_a_branch_by_the_parents_own_token_is_the_parent(
    mode: str, sampling: dict[str, Any], engine: Engine, tiny_home: Path
) -> None:
    """Under penalties, banned ends and drawn tokens: positions, counts and noise go on."""
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    parent = run(engine, sampling=sampling, max_new_tokens=LENGTH, **own)
    for position in (0, 7):
        same = branch(engine, parent, position, parent.token_ids[position])
        assert same.token_ids == parent.token_ids
        assert same.text == parent.text
        assert ending_of(same).reason == ending_of(parent).reason


@pytest.mark.parametrize("sampling", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_branch_of_plain_decoding(
    mode: str, sampling: dict[str, Any], engine: Engine, tiny_home: Path
) -> None:
    parent = run(engine, sampling=sampling, max_new_tokens=LENGTH)
    other = (parent.token_ids[5] + 1) % 90
    plain = branch(engine, parent, 5, other)
    drafted = branch(engine, parent, 5, other, **mode_settings(mode, TREE, tiny_home))
    assert drafted.token_ids == plain.token_ids
    assert plain.token_ids[:6] == [*parent.token_ids[:5], other]
    assert len(plain.token_ids) == LENGTH


def test_compiled_kernels_go_on_as_the_parent_did(tiny_home: Path, kernels: Kernels) -> None:
    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=True))
    for sampling in (GREEDY, SAMPLED):
        parent = run(engine, sampling=sampling, **mode_settings("sd-eagle", TREE, tiny_home))
        assert branch(engine, parent, 9, parent.token_ids[9]).token_ids == parent.token_ids


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_steps_that_a_device_does_alone_go_on_as_the_parent_did(
    sampling: dict[str, Any], tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, in the form that the device has."""
    monkeypatch.setattr(
        "core.engine.make_graph_runner_cache",
        lambda target, forward: GraphRunnerCache(target.eos_token_ids, compile=False),
    )
    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=False))
    parent = run(engine, sampling=sampling, max_new_tokens=LENGTH)
    for mode in ("ngram", "sd-eagle", "sd-classic"):
        own = mode_settings(mode, TREE, tiny_home)
        assert "resident" in started_of(run(engine, max_new_tokens=2, **own)).target["forward"]
        for place in (0, 9):
            same = branch(engine, parent, place, parent.token_ids[place], **own)
            assert same.token_ids == parent.token_ids


class Forced(LogitsProcessor):  # type: ignore[misc]
    """Has transformers choose a token at one place of a text."""

    def __init__(self, place: int, token_id: int):
        self._place, self._token_id = place, token_id

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] == self._place:
            scores = torch.full_like(scores, -torch.inf)
            scores[:, self._token_id] = 0.0
        return scores


@pytest.mark.parametrize("mode", ["naive", "ngram"])
def test_transformers_go_on_the_same_way_behind_a_token_that_it_was_made_to_choose(
    mode: str, engine_of: EngineOf
) -> None:
    engine = engine_of()
    settings = {"sampling": {"repetition_penalty": 1.3}, "mode": mode, "max_new_tokens": LENGTH}
    parent = run(engine, **settings)
    prompt = started_of(parent).prompt_token_ids
    place, other = 6, parent.token_ids[6] ^ 1
    output = engine.target.module.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
        do_sample=False,
        max_new_tokens=LENGTH,
        repetition_penalty=1.3,
        logits_processor=LogitsProcessorList([Forced(len(prompt) + place, other)]),
    )
    assert branch(engine, parent, place, other).token_ids == output[0, len(prompt) :].tolist()


def test_a_branch_tells_where_it_comes_from_and_comes_back_from_disk(
    engine: Engine, tmp_path: Path
) -> None:
    parent = run(engine, sampling=SAMPLED, max_new_tokens=LENGTH)
    other = branch(engine, parent, 5, 40)
    started = started_of(other)
    assert (started.parent, started.forked_at) == (parent.run_id, 5)
    assert started.prefix_token_ids == [*parent.token_ids[:5], 40]
    assert started.prompt_token_ids == started_of(parent).prompt_token_ids
    assert started.prompt_text == started_of(parent).prompt_text
    assert other.run_id != parent.run_id
    assert other.text.startswith("".join(started.prefix_texts))
    assert {*started.prefix_token_ids} <= {*other.token_texts}
    assert other.stats.num_tokens == LENGTH - 6, "of its own steps alone"
    prefilled = other.first(Prefilled)
    assert prefilled is not None
    num_known = len(started.prompt_token_ids) + 6
    assert prefilled.cache_length == num_known - 1
    assert prefilled.num_reused == num_known - 1, "all that it shares with its parent"
    save_trace(other, tmp_path / "branch.jsonl")
    assert load_trace(tmp_path / "branch.jsonl") == other


def test_a_branch_of_a_branch_goes_on_from_the_whole_answer(engine: Engine) -> None:
    parent = run(engine, sampling=SAMPLED, max_new_tokens=LENGTH)
    first = branch(engine, parent, 5, 40)
    second = branch(engine, first, 9, first.token_ids[9])
    assert second.token_ids == first.token_ids
    assert started_of(second).parent == first.run_id
    back = branch(engine, first, 5, parent.token_ids[5])
    assert back.token_ids == parent.token_ids


def test_a_path_of_a_tree_is_forked_where_it_leaves_the_answer(engine: Engine) -> None:
    parent = run(engine, max_new_tokens=LENGTH)
    path = [*parent.token_ids[4:6], parent.token_ids[6] ^ 1, 50]
    other = branch(engine, parent, 4, path)
    assert started_of(other).forked_at == 6
    assert other.token_ids[4:8] == path


def test_the_same_branch_once_more(engine: Engine) -> None:
    parent = run(engine, max_new_tokens=LENGTH)
    other = branch(engine, parent, 5, [40, 41])
    assert fork_again(started_of(other)) == fork_of(parent, 5, [40, 41])
    assert fork_again(started_of(parent)) is None


def test_branches_in_a_batch_have_the_text_that_they_have_alone(engine: Engine) -> None:
    parent = run(engine, sampling=SAMPLED, max_new_tokens=LENGTH)
    config = RunConfig.from_dict(started_of(parent).config)
    prompts = [engine.fork_prompt(fork_of(parent, place, 40)) for place in (0, 3, 11)]
    traces = [Trace(), Trace(), Trace()]
    for index, event in engine.run_batch([(prompt, config) for prompt in prompts], 2):
        traces[index].events.append(event)
    for place, trace in zip((0, 3, 11), traces, strict=True):
        assert trace.token_ids == branch(engine, parent, place, 40).token_ids


def test_a_branch_is_remembered_as_a_whole(engine: Engine) -> None:
    parent = run(engine, max_new_tokens=LENGTH)
    memory = SuffixMemory()
    drafter = {"memory": True, "fixed_size": True}
    other = branch(engine, parent, 5, 40, memory, mode="ngram", drafter=drafter)
    assert [list(answer) for answer in memory.answers] == [other.token_ids]


def test_a_stop_string_may_begin_among_the_given_tokens(engine: Engine) -> None:
    parent = run(engine, max_new_tokens=LENGTH)
    pieces = [text for event in parent.of_kind(Committed) for text in event.texts]
    stop = "".join(pieces[4:7])
    cut = branch(engine, parent, 5, parent.token_ids[5], stop=[stop])
    assert ending_of(cut).reason == "stop_string"
    assert cut.text == parent.text[: parent.text.index(stop)]


@pytest.mark.parametrize(
    ("token_ids", "settings", "reason"),
    [
        ([90], {}, "eos"),
        ([40], {"max_new_tokens": 6}, "length"),
        ([40], {"stop": ["{40}"]}, "stop_string"),
    ],
)
def test_the_chosen_token_may_end_the_answer_before_any_step(
    token_ids: list[int], settings: dict[str, Any], reason: str, engine: Engine
) -> None:
    parent = run(engine, max_new_tokens=LENGTH)
    if "stop" in settings:
        settings = {"stop": [engine.target.tokenizer.decode([40])]}
    ended = branch(engine, parent, 5, token_ids, **settings)
    assert ending_of(ended).reason == reason
    assert ended.stats.num_steps == 0
    assert ended.token_ids == [*parent.token_ids[:5], *token_ids]


WRONG: list[tuple[int, Any, dict[str, Any], str]] = [
    (-1, 40, {}, "the position is -1 and the answer has 16 tokens; give one from 0 to 16"),
    (17, 40, {}, "the position is 17 and the answer has 16 tokens"),
    (True, 40, {}, "the position is True"),
    (3, [], {}, "the token id is 'none'; give whole numbers from 0 on"),
    (3, [4, -2], {}, "the token id is -2"),
    (3, ["4"], {}, "the token id is '4'"),
    (3, 192, {}, "there is no token 192; the target has the ids from 0 to 191"),
    (3, [90, 40], {}, "the answer ends with its token 4 and the branch goes on behind that"),
    (3, [40, 41], {"max_new_tokens": 4}, "begins with 5 tokens and max_new_tokens is 4"),
    (3, 90, {"sampling": {"min_new_tokens": 4}}, "token 4 of the answer is an end, which min_new"),
    (3, 90, {"sampling": {"ignore_eos": True}}, "an end, which ignore_eos does not allow there"),
]


@pytest.mark.parametrize(("position", "token_ids", "settings", "message"), WRONG)
def test_what_is_no_branch_is_refused_before_the_run(
    position: int, token_ids: Any, settings: dict[str, Any], message: str, engine: Engine
) -> None:
    parent = run(engine, max_new_tokens=LENGTH, sampling={"min_new_tokens": LENGTH})
    with pytest.raises(InvalidSettingError, match=message):
        branch(engine, parent, position, token_ids, **{"sampling": {}, **settings})


def test_a_token_that_the_constraint_forbids_is_refused_and_others_go_on_in_the_form(
    engine_of: EngineOf,
) -> None:
    engine = engine_of()
    ids = {character: engine.raw_prompt(character).token_ids[0] for character in "abz-"}
    form = {"constraint": "regex:[a-f0-9]{3}(-[a-f0-9]{3})*"}
    end_engine = replace(engine.target, eos_token_ids=frozenset({180}))
    engine.__dict__.pop("_token_trie", None)
    own, engine.target = engine.target, end_engine
    try:
        for sampling in ({**GREEDY, **form}, {**SAMPLED, **form}):
            parent = run(engine, sampling=sampling, max_new_tokens=LENGTH)
            same = branch(engine, parent, 6, parent.token_ids[6])
            assert same.token_ids == parent.token_ids
            other = "a" if parent.text[5] != "a" else "b"
            went_on = branch(engine, parent, 5, ids[other])
            assert went_on.text[:6] == parent.text[:5] + other
            assert went_on.text[6:8][1:] in ("", "-") or went_on.text[7] == "-"
            for wrong in (ids["z"], ids["-"], 180):
                with pytest.raises(
                    InvalidSettingError, match=r"does not allow token \d+ as token 6"
                ):
                    branch(engine, parent, 5, wrong)
    finally:
        engine.target = own
        engine.__dict__.pop("_token_trie", None)


def test_a_branch_of_another_target_is_refused(engine: Engine, engine_of: EngineOf) -> None:
    parent = run(engine_of(name="draft"), max_new_tokens=4)
    with pytest.raises(InvalidSettingError, match="a branch needs the target of its parent"):
        branch(engine, parent, 1, 40)


def test_a_branch_has_no_profile(engine: Engine) -> None:
    parent = run(engine, max_new_tokens=4)
    prompt = engine.fork_prompt(fork_of(parent, 1, 40))
    with pytest.raises(InvalidSettingError, match="a branch has no profile"):
        engine.profile(prompt, RunConfig.from_dict({"mode": "ngram"}))


def test_a_server_goes_on_from_no_token_ids(engine: Engine) -> None:
    server = AttachedEngine.__new__(AttachedEngine)
    server.target = "http://127.0.0.1:1"
    fork: Fork = fork_of(run(engine, max_new_tokens=4), 1, 40)
    with pytest.raises(InvalidSettingError, match="is a server, which cannot go on from token ids"):
        server.fork_prompt(fork)


def test_a_trace_of_a_server_or_of_nothing_has_no_branches(engine: Engine) -> None:
    parent = run(engine, max_new_tokens=4)
    told = Trace([replace(started_of(parent), server={"kind": "vllm"}), *parent.events[1:]])
    with pytest.raises(InvalidSettingError, match="the run is an answer of a server"):
        fork_of(told, 1, 40)
    with pytest.raises(InvalidSettingError, match="the trace has no start"):
        fork_of(Trace(parent.events[1:]), 1, 40)


def test_given_tokens_are_of_the_answer_for_penalties_and_the_least_number() -> None:
    """Exactly: a target that repeats itself unless that is paid for."""
    target = ScriptedBackend(following([5] * 40, 10), 10)
    law = {"presence_penalty": 2.0, "frequency_penalty": 2.0}
    whole, _ = run_loop(target, None, [5, 5], max_new_tokens=12, sampling=law)
    for num_given in (1, 6, 11):
        given = emitted(whole)[:num_given]
        rest, reason = run_loop(target, None, [5, 5], given=given, max_new_tokens=12, sampling=law)
        assert emitted(rest) == emitted(whole)[num_given:]
        assert reason == "length"


def test_rejection_meets_numbers_behind_a_branch_that_chose_nothing_of_it() -> None:
    """With the numbers of its parent, the token behind a branch would be the token before it."""
    settings = {"accept": "rejection", "mode": "ngram", "max_new_tokens": 2}
    num_equal = 0
    for seed in range(200):
        law = {"do_sample": True, "temperature": 100.0, "seed": seed}
        target = ScriptedBackend(hashed_logits(2), 2)
        first = emitted(run_loop(target, None, [0, 1], sampling=law, **settings)[0])[:1]
        events, _ = run_loop(target, None, [0, 1], given=first, sampling=law, **settings)
        num_equal += emitted(events) == first
    assert 60 < num_equal < 140
    assert stream_seed(7, 0) == 7


def test_a_branch_that_is_stopped_says_so(engine: Engine) -> None:
    parent = run(engine, max_new_tokens=LENGTH)
    prompt = engine.fork_prompt(fork_of(parent, 3, 40))
    events = list(engine.run(prompt, RunConfig(max_new_tokens=LENGTH), should_stop=lambda: True))
    assert isinstance(events[-1], RunFinished)
    assert events[-1].reason == "stopped"
    assert Trace(events).token_ids == [*parent.token_ids[:3], 40]
