"""Every mode under penalties, biases, banned ends and stop strings: the text of plain decoding."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.backends.cpu.library import Kernels
from core.config import RunConfig
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import load_model
from core.trace.events import RunFinished
from core.trace.file import Trace, load_trace, save_trace
from tests.core.conftest import PROMPT, run
from tests.core.decoding.test_batches import PROMPTS, ragged, run_batch
from tests.core.decoding.test_modes import CHAIN, GREEDY, MODES, SAMPLED, TREE, mode_settings
from visualize.exports import export_csv, read_csv

EngineOf = Callable[..., Engine]

LAW = {
    "repetition_penalty": 1.2,
    "presence_penalty": 0.4,
    "frequency_penalty": 0.2,
    "logit_bias": {"20": 1.5, "33": -100},
    "min_new_tokens": 30,
}
ENDS = frozenset({2, 90})
SAMPLINGS = {"greedy": {**GREEDY, **LAW}, "sampled": {**SAMPLED, **LAW, "min_p": 0.02}}


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_text_of_plain_decoding(
    mode: str, shape: dict[str, Any], sampling: dict[str, Any], engine: Engine, tiny_home: Path
) -> None:
    plain = run(engine, sampling=sampling)
    drafted = run(engine, sampling=sampling, **mode_settings(mode, shape, tiny_home))
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.num_drafted > 0


@pytest.fixture
def engine(engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The shared engine, with ends of a text."""
    engine = engine_of()
    monkeypatch.setattr(engine, "target", replace(engine.target, eos_token_ids=ENDS))
    return engine


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_the_law_is_another_than_without(sampling: dict[str, Any], engine: Engine) -> None:
    free = run(engine, sampling={name: sampling[name] for name in sampling.keys() - LAW})
    assert free.token_ids != run(engine, sampling=sampling).token_ids


def self_drafted(engine: Engine, shape: dict[str, Any], **settings: Any) -> Trace:
    """The target drafts for itself, so that many a node is accepted."""
    return run(engine, mode="share-sd", drafter={"bits": 16, **shape}, **settings)


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
def test_drafts_have_the_law_of_their_paths_so_that_the_target_drafts_for_itself_without_a_miss(
    shape: dict[str, Any], sampling: dict[str, Any], engine: Engine
) -> None:
    drafted = self_drafted(engine, shape, sampling=sampling)
    assert drafted.stats.num_accepted > 20
    assert drafted.stats.acceptance_rate == 1.0
    assert drafted.token_ids == run(engine, sampling=sampling).token_ids


def ending_of(trace: Trace) -> RunFinished:
    finished = trace.first(RunFinished)
    assert finished is not None
    return finished


@pytest.mark.parametrize("mode", ["naive", *MODES])
def test_a_stop_string_ends_every_mode_at_the_same_token(
    mode: str, engine: Engine, tiny_home: Path
) -> None:
    whole = run(engine)
    stop = whole.text[14:19]
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    cut = run(engine, stop=[stop], **own)
    finished = ending_of(cut)
    assert (finished.reason, finished.stop) == ("stop_string", stop)
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert whole.text.startswith(cut.text + finished.cut_text)
    assert whole.token_ids[: len(cut.token_ids)] == cut.token_ids
    behind = whole.token_ids[len(cut.token_ids) :]
    assert behind[: len(finished.cut_token_ids)] == finished.cut_token_ids


def test_accepted_tokens_behind_a_stop_string_are_kept_in_the_trace(
    engine: Engine, tmp_path: Path
) -> None:
    whole = run(engine)
    stops = [whole.text[place : place + 3] for place in range(4, 24, 2)]
    traces = [self_drafted(engine, CHAIN, stop=[stop], sampling=GREEDY) for stop in stops]
    cut = next(trace for trace in traces if ending_of(trace).cut_token_ids)
    save_trace(cut, tmp_path / "cut.jsonl")
    assert load_trace(tmp_path / "cut.jsonl") == cut
    steps, tokens = (tmp_path / f"{table}.csv" for table in ("steps", "tokens"))
    export_csv(cut, steps, "steps")
    export_csv(cut, tokens, "tokens")
    assert read_csv(steps, "steps")["num_emitted"].sum() == len(cut.token_ids)
    assert read_csv(tokens, "tokens")["token_id"].tolist() == cut.token_ids


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("mode", ["naive", "sd-eagle", "share-sd"])
def test_every_sequence_of_a_batch_has_a_law_of_its_own(
    mode: str, sampling: dict[str, Any], engine: Engine, tiny_home: Path
) -> None:
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    settings = [
        {**one, "sampling": {**one["sampling"], "min_new_tokens": 0}}
        for one in ragged(own, sampling)
    ]
    for prompt, alone, trace in zip(PROMPTS, settings, run_batch(engine, settings), strict=True):
        plain = {name: alone[name] for name in ("max_new_tokens", "sampling")}
        assert trace.token_ids == run(engine, prompt, **plain).token_ids


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_compiled_kernels_have_the_law_of_the_eager_forward(
    sampling: dict[str, Any], tiny_home: Path, engine: Engine, kernels: Kernels
) -> None:
    target = load_model(str(tiny_home / "target"), dtype="float32", compile=True)
    compiled = Engine(replace(target, eos_token_ids=ENDS))
    assert compiled.forward_name == "native"
    plain = run(compiled, sampling=sampling)
    assert plain.token_ids == run(engine, sampling=sampling).token_ids
    for mode in ("ngram", "sd-eagle", "share-sd"):
        drafted = run(compiled, sampling=sampling, **mode_settings(mode, TREE, tiny_home))
        assert drafted.token_ids == plain.token_ids


def test_a_banned_end_is_never_chosen(engine: Engine) -> None:
    # With this bias every answer would be an end at once.
    bias = {str(end): 100 for end in ENDS}
    at_once = run(engine, sampling={"logit_bias": bias})
    assert ending_of(at_once).reason == "eos" and len(at_once.token_ids) == 1
    later = run(engine, sampling={"logit_bias": bias, "min_new_tokens": 7})
    assert ending_of(later).reason == "eos" and len(later.token_ids) == 8
    never = run(engine, sampling={"logit_bias": bias, "ignore_eos": True})
    assert ending_of(never).reason == "length" and not ENDS & {*never.token_ids}


@pytest.mark.parametrize("accept", ["rejection", "typical"])
def test_rules_that_judge_by_probabilities_never_keep_what_is_banned(
    accept: str, engine: Engine, tiny_home: Path
) -> None:
    free = run(
        engine, sampling=SAMPLED, accept=accept, **mode_settings("sd-classic", TREE, tiny_home)
    )
    banned = {*free.token_ids[::2]}
    bias = {str(token_id): -100 for token_id in banned}
    sampling = {**SAMPLED, "logit_bias": bias, "ignore_eos": True}
    for mode in ("share-sd", "sd-classic"):
        settings = mode_settings(mode, TREE, tiny_home)
        trace = run(engine, accept=accept, sampling=sampling, **settings)
        assert trace.stats.num_accepted > 0 and len(trace.token_ids) == 40
        assert not (banned | ENDS) & {*trace.token_ids}


def test_a_token_may_be_named_by_its_exact_text(engine: Engine) -> None:
    token_id = run(engine).token_ids[0]
    text = run(engine).token_texts[token_id]
    by_text = run(engine, sampling={"logit_bias": {text: -100}})
    by_id = run(engine, sampling={"logit_bias": {str(token_id): -100}})
    assert by_text.token_ids == by_id.token_ids and token_id not in by_id.token_ids


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ({"192": 1}, "there is no token 192; the target has the ids from 0 to 191"),
        ({"no such": 1}, "no token of the target has the text 'no such'; give the text of one"),
        (["20=1", "20=2"], "logit_bias names token 20 twice"),
    ],
)
def test_tokens_that_the_target_lacks_are_refused_before_the_run(
    bias: Any, message: str, engine: Engine
) -> None:
    config = RunConfig.from_dict({"sampling": {"logit_bias": bias}})
    with pytest.raises(InvalidSettingError, match=message):
        engine.run(engine.raw_prompt(PROMPT), config)
