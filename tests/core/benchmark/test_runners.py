"""Our engine and transformers' generate on tiny models: the same ids, counted alike."""

from collections.abc import Callable

import pytest

from core.benchmark.outside.transformers_generate import TransformersRunner, transformers_runners
from core.benchmark.runners import EngineRunner
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from tests.core.conftest import PROMPT
from tests.scripted import ticking_clock


def config_of(**settings: object) -> RunConfig:
    return RunConfig.from_dict({"max_new_tokens": 24, **settings})


@pytest.fixture
def engine(engine_of: Callable[..., Engine]) -> Engine:
    return engine_of("float32")


@pytest.fixture
def prompt(engine: Engine) -> Prompt:
    return engine.raw_prompt(PROMPT)


def test_every_way_of_transformers_gives_our_plain_ids(
    engine: Engine, prompt: Prompt, engine_of: Callable[..., Engine]
) -> None:
    plain = EngineRunner(engine, config_of()).answer(prompt)
    draft = engine_of("float32", "draft").target
    runners = transformers_runners("transformers", engine.target, config_of(), draft)
    assert [runner.label for runner in runners] == [
        "transformers", "transformers lookup", "transformers assisted",
    ]  # fmt: skip
    for runner in runners:
        answer = runner.answer(prompt)
        assert answer.error is None
        assert answer.token_ids == plain.token_ids
        assert answer.text == plain.text
        assert sum(emission.num_tokens for emission in answer.emissions) == 24


def test_without_a_draft_model_there_is_no_assisted_generation(engine: Engine) -> None:
    assert len(transformers_runners("transformers", engine.target, config_of(), None)) == 2


@pytest.mark.parametrize("mode", ["naive", "ngram"])
def test_the_emissions_of_our_engine_are_its_tokens(
    engine: Engine, prompt: Prompt, mode: str
) -> None:
    answer = EngineRunner(engine, config_of(mode=mode), ticking_clock()).answer(prompt)
    assert answer.trace is not None
    assert sum(emission.num_tokens for emission in answer.emissions) == 24
    assert len(answer.emissions) == answer.trace.stats.num_steps
    times = [emission.t_s for emission in answer.emissions]
    assert times[0] > 0 and times == sorted(times) and times[-1] < answer.total_s


def test_every_answer_computes_its_whole_prompt(engine: Engine, prompt: Prompt) -> None:
    runner = EngineRunner(engine, config_of())
    for _ in range(2):
        trace = runner.answer(prompt).trace
        assert trace is not None
        prefilled = next(event for event in trace.events if event.kind == "prefilled")
        assert (prefilled.num_tokens, prefilled.num_reused) == (len(prompt.token_ids) - 1, 0)


def test_a_prompt_that_fills_the_context_is_an_error_in_the_answer(engine: Engine) -> None:
    answer = EngineRunner(engine, config_of()).answer(Prompt("", [1] * 600))
    assert answer.error is not None and "context" in answer.error
    assert answer.token_ids == []


def test_a_failure_of_transformers_is_an_error_in_the_answer(
    engine: Engine, prompt: Prompt
) -> None:
    runner = TransformersRunner("broken", engine.target, config_of(), no_such_setting=1)
    error = runner.answer(prompt).error
    assert error is not None and "no_such_setting" in error


def test_sampling_reaches_transformers(engine: Engine, prompt: Prompt) -> None:
    sampling = {"do_sample": True, "temperature": 1.5, "seed": 3}
    runner = TransformersRunner("sampled", engine.target, config_of(sampling=sampling))
    first, second = runner.answer(prompt), runner.answer(prompt)
    assert first.error is None
    assert first.token_ids == second.token_ids, "the seed decides"
    assert first.token_ids != EngineRunner(engine, config_of()).answer(prompt).token_ids


@pytest.mark.parametrize(
    ("accept", "do_sample", "expected"),
    [("match", True, True), ("rejection", True, False), ("rejection", False, True)],
)
def test_only_rules_that_keep_the_text_are_compared(
    engine: Engine, accept: str, do_sample: bool, expected: bool
) -> None:
    config = config_of(mode="ngram", accept=accept, sampling={"do_sample": do_sample})
    assert EngineRunner(engine, config).gives_plain_text is expected


def test_a_model_with_habits_of_its_own_generates_without_them(
    engine: Engine, prompt: Prompt
) -> None:
    """A repetition penalty in a model's generation settings made its greedy text another one."""
    generation_config = engine.target.module.generation_config
    plain = EngineRunner(engine, config_of()).answer(prompt)
    generation_config.repetition_penalty = 5.0
    try:
        answer = TransformersRunner("plain", engine.target, config_of()).answer(prompt)
    finally:
        generation_config.repetition_penalty = None
    assert answer.token_ids == plain.token_ids
