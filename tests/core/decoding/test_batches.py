"""Several sequences side by side: each has the text that it has alone."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.backends.cpu.library import Kernels
from core.benchmark import batches
from core.config import RunConfig
from core.decoding.joining import JoiningRun
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.errors import InvalidSettingError
from core.trace.events import RunFailed, RunFinished, RunStarted
from core.trace.file import Trace
from tests.core.conftest import PROMPT, run
from tests.core.decoding.test_modes import (
    GREEDY,
    MODES,
    SAMPLED,
    TREE,
    in_two_shapes,
    mode_settings,
)

EngineOf = Callable[..., Engine]
PROMPTS = (PROMPT, "The lazy dog", PROMPT + PROMPT, "A fox. A fox. A fox.", "Jumps over")


def run_batch(engine: Engine, settings: Sequence[dict[str, Any]], size: int = 3) -> list[Trace]:
    """Each prompt under its settings, side by side."""
    runs = [
        (engine.raw_prompt(prompt), RunConfig.from_dict({"max_new_tokens": 40, **own}))
        for prompt, own in zip(PROMPTS, settings, strict=True)
    ]
    traces = [Trace() for _ in runs]
    for index, event in engine.run_batch(runs, size):
        traces[index].events.append(event)
    return traces


def ragged(settings: dict[str, Any], sampling: dict[str, Any]) -> list[dict[str, Any]]:
    """Other lengths and seeds for each sequence."""
    return [
        {
            **settings,
            "max_new_tokens": 8 + 9 * index,
            "sampling": {**sampling, **({"seed": index} if sampling["do_sample"] else {})},
        }
        for index in range(len(PROMPTS))
    ]


def assert_joining_runs_have_own_texts(
    engine: Engine, alone: Engine, settings: Sequence[dict[str, Any]]
) -> list[Trace]:
    """Runs that come while others go on have the texts of plain decoding by another engine."""
    configs = [RunConfig.from_dict(values) for values in settings]
    traces: list[Trace] = []

    def next_run() -> JoiningRun | None:
        """One comes with every second step of those that run, and at once where none does."""
        if len(traces) == len(PROMPTS):
            return None
        count = sum(trace.stats.num_steps for trace in traces)
        if count < 2 * len(traces) and not all(trace.first(RunFinished) for trace in traces):
            return None
        traces.append(Trace())
        index = len(traces) - 1
        return JoiningRun(partial(engine.raw_prompt, PROMPTS[index]), configs[index])

    for index, event in engine.run_joining(next_run, 3):
        traces[index].events.append(event)
    for prompt, config, trace in zip(PROMPTS, configs, traces, strict=True):
        assert trace.first(RunFinished)
        plain = {"max_new_tokens": config.max_new_tokens, "sampling": config.sampling.to_dict()}
        assert trace.token_ids == run(alone, prompt, **plain).token_ids
    return traces


@in_two_shapes
@pytest.mark.parametrize("mode", ["naive", *MODES])
def test_every_sequence_has_the_text_that_it_has_alone(
    mode: str, shape: dict[str, Any], sampling: dict[str, Any], engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of()
    own = {} if mode == "naive" else mode_settings(mode, shape, tiny_home)
    settings = ragged(own, sampling)
    together = run_batch(engine, settings)
    for prompt, alone, trace in zip(PROMPTS, settings, together, strict=True):
        plain = {name: alone[name] for name in ("max_new_tokens", "sampling")}
        assert trace.token_ids == run(engine, prompt, **plain).token_ids
        assert len(trace.token_ids) <= alone["max_new_tokens"]
    if mode != "naive":
        assert sum(trace.stats.num_drafted for trace in together) > 0


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("mode", ["naive", "hybrid", "share-sd"])
def test_runs_that_join_have_the_text_that_they_have_alone(
    mode: str, sampling: dict[str, Any], engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of()
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    assert_joining_runs_have_own_texts(engine, engine, ragged(own, sampling))


def test_what_is_refused_or_stopped_leaves_those_beside_it_alone(engine_of: EngineOf) -> None:
    engine = engine_of()
    config = RunConfig(max_new_tokens=12)
    stops = [False, True, False, False]
    prompt = partial(engine.raw_prompt, PROMPT)
    prompts = [prompt, prompt, lambda: Prompt("", []), lambda: engine.token_prompt([5, 6, 7])]
    waiting = [
        JoiningRun(make_prompt, config, lambda index=index: stops[index])
        for index, make_prompt in enumerate(prompts)
    ]
    waiting.append(JoiningRun(prompt, RunConfig(device="cuda", gpu_memory="1GiB")))
    waiting.append(JoiningRun(prompt, RunConfig(mode="sd-mtp")))
    waiting.append(JoiningRun(partial(engine.chat_prompt, []), config))
    traces = [Trace() for _ in waiting]
    left = iter(waiting)
    for index, event in engine.run_joining(lambda: next(left, None), 2):
        traces[index].events.append(event)
    whole = run(engine, PROMPT, max_new_tokens=12).token_ids
    assert traces[0].token_ids == whole
    stopped = traces[1].first(RunFinished)
    assert stopped is not None and stopped.reason == "stopped" and not traces[1].token_ids
    assert len(traces[3].token_ids) == 12
    failed = [trace.first(RunFailed) for trace in (traces[2], *traces[4:])]
    expected = [
        "InvalidSettingError",
        "InvalidSettingError",
        "DrafterUnavailableError",
        "IndexError",
    ]
    assert [event.error for event in failed if event] == expected
    assert [event.message.split(";")[0] for event in failed if event][:2] == [
        "the prompt is empty",
        "gpu_memory is for one sequence at a time",
    ]


@pytest.mark.parametrize("mode", MODES)
def test_sizes_by_the_shared_cost_give_the_same_text(
    mode: str, engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of()
    settings = mode_settings(mode, {"depth": 4, "branching": 2}, tiny_home)
    together = run_batch(engine, [settings] * len(PROMPTS), size=5)
    assert [trace.token_ids for trace in together] == [
        run(engine, prompt).token_ids for prompt in PROMPTS
    ]


def test_sequences_may_have_modes_of_their_own(engine_of: EngineOf, tiny_home: Path) -> None:
    engine = engine_of()
    modes = ["sd-eagle", "sd-block", "sd-medusa", "share-sd", "hybrid"]
    settings = [mode_settings(mode, TREE, tiny_home) for mode in modes]
    for mode, prompt, trace in zip(modes, PROMPTS, run_batch(engine, settings), strict=True):
        started = trace.first(RunStarted)
        assert started is not None and started.config["mode"] == mode and started.batch_size == 3
        assert trace.token_ids == run(engine, prompt).token_ids


def test_models_that_transformers_computes_run_side_by_side(engine_of: EngineOf) -> None:
    engine = engine_of("float32", "codegen")
    together = run_batch(engine, [{"mode": "ngram"}] * len(PROMPTS))
    assert [trace.token_ids for trace in together] == [
        run(engine, prompt).token_ids for prompt in PROMPTS
    ]


def test_shape_invariant_execution_stays_what_it_is(engine_of: EngineOf, tiny_home: Path) -> None:
    engine = engine_of("bfloat16")
    settings = {**mode_settings("share-sd", TREE, tiny_home), "invariant": True}
    together = run_batch(engine, [settings] * len(PROMPTS))
    assert [trace.token_ids for trace in together] == [
        run(engine, prompt, invariant=True).token_ids for prompt in PROMPTS
    ]


@pytest.mark.parametrize("mode", ["naive", "sd-eagle", "share-sd"])
def test_compiled_kernels_compute_several_sequences(
    mode: str, tiny_home: Path, kernels: Kernels
) -> None:
    from core.loading.loading import load_model

    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=True))
    assert engine.forward_name == "native"
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    together = run_batch(engine, ragged(own, GREEDY), size=5)
    for index, (prompt, trace) in enumerate(zip(PROMPTS, together, strict=True)):
        alone = run(engine, prompt, max_new_tokens=8 + 9 * index)
        assert trace.token_ids == alone.token_ids


def test_a_stop_ends_all_and_keeps_what_they_have(engine_of: EngineOf) -> None:
    engine = engine_of()
    runs = [(engine.raw_prompt(prompt), RunConfig(max_new_tokens=500)) for prompt in PROMPTS]
    seen: list[str] = []
    traces = [Trace() for _ in runs]
    for index, event in engine.run_batch(runs, 5, should_stop=lambda: len(seen) > 60):
        seen.append(event.kind)
        traces[index].events.append(event)
    for trace in traces:
        finished = trace.first(RunFinished)
        assert finished is not None and finished.reason == "stopped"
        assert 0 < len(trace.token_ids) < 20


def test_a_sequence_that_breaks_leaves_the_others(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of()
    from core.drafters.ngram import NgramDrafter

    draft = NgramDrafter.draft

    def broken(self: NgramDrafter, root: int, *rest: Any) -> Any:
        if self._settings.min_match == 7:
            raise RuntimeError("no luck")
        return draft(self, root, *rest)

    monkeypatch.setattr(NgramDrafter, "draft", broken)
    good, bad = {"mode": "ngram"}, {"mode": "ngram", "drafter": {"min_match": 7}}
    together = run_batch(engine, [good, bad, good, good, good])
    failed = together[1].first(RunFailed)
    assert failed is not None and "no luck" in failed.message
    assert all(trace.first(RunFinished) for index, trace in enumerate(together) if index != 1)


@pytest.mark.parametrize(
    ("settings", "size", "sentence"),
    [
        ([], 2, "the batch has no prompts"),
        ([{}], 0, "the batch size is 0; give a number from 1 to 256"),
        ([{}], 10**9, "the batch size is 1000000000"),
        ([{"device": "cuda", "gpu_memory": "8GiB"}], 2, "one sequence at a time"),
        (
            [{"mode": "share-sd", "drafter": {"offload": True}}, {"mode": "share-sd"}],
            2,
            "set it for every run or for none",
        ),
    ],
)
def test_what_cannot_be_side_by_side_is_said(
    settings: list[dict[str, Any]], size: int, sentence: str, engine_of: EngineOf
) -> None:
    engine = engine_of()
    runs = [(engine.raw_prompt(PROMPT), RunConfig.from_dict(own)) for own in settings]
    with pytest.raises(InvalidSettingError, match=sentence):
        engine.run_batch(runs, size)


def test_the_benchmark_compares_modes_at_every_size(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table = tmp_path / "batches.json", tmp_path / "batches.md"
    questions = tmp_path / "questions.jsonl"
    lines = [
        json.dumps({"question_id": number, "category": "chat", "turns": [text]})
        for number, text in enumerate(("Fox?", "Fox " * 200, "A fox?", "Foxes?", "Dog?", "Dogs?"))
    ]
    questions.write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = [
        "--target", str(tiny_home / "target"), "--dtype", "float32", "--modes", "ngram",
        "--sizes", "2,1,4", "--limit", "5", "--max-new-tokens", "8", "--repeats", "2",
        "--no-compile", "--questions", str(questions), "--json", str(path), "--markdown", str(table),
    ]  # fmt: skip
    assert batches.main(arguments) == 1
    told = capsys.readouterr()
    assert told.err.startswith("failed at question 1 (chat): the prompt has 8")
    report = json.loads(path.read_text(encoding="utf-8"))
    results = report["results"]
    assert [(item["mode"], item["size"]) for item in results[:6]] == [
        (mode, size) for size in (1, 2, 4) for mode in ("naive", "ngram")
    ]
    assert all(item["num_identical"] == item["num_sequences"] == 4 for item in results)
    for item in results:
        assert 0 < item["num_tokens"] <= 4 * 7, "the last round is not whole for all"
        assert item["num_tokens"] == 28 or item["mode"] == "ngram"
        assert item["seconds"] > 0
    printed = told.out
    assert report["question_ids"] == [0, 2, 3, 4]
    assert "faster up to" in printed and "8 of 8" not in printed and "24 of 24" in printed
    assert "| naive |" in table.read_text(encoding="utf-8")


def test_the_benchmark_takes_a_folder_of_widened_models(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions.jsonl"
    question = {"question_id": 1, "category": "chat", "turns": ["Fox?"]}
    questions.write_text(
        "".join(json.dumps({**question, "question_id": number}) + "\n" for number in (1, 2)),
        encoding="utf-8",
    )
    settings = ["--models", str(tiny_home), "--dtype", "float32", "--no-compile"]
    settings += ["--questions", str(questions)]
    modes = ["--modes", "sd-classic", "--sizes", "1,2", "--max-new-tokens", "6"]
    assert batches.main([*settings, *modes]) == 0
    assert "sd-classic" in capsys.readouterr().out
    assert batches.main([*settings, *modes, "--target", str(tiny_home / "target")]) == 2
    assert "--models brings a target; leave out --target." in capsys.readouterr().err


def test_a_prompt_that_does_not_fit_ends_its_own_run_alone(engine_of: EngineOf) -> None:
    engine = engine_of()
    config = RunConfig.from_dict({"mode": "ngram", "max_new_tokens": 12})
    prompts = [engine.raw_prompt(text) for text in (PROMPT, PROMPT * 20, "The lazy dog")]
    traces = [Trace() for _ in prompts]
    for index, event in engine.run_batch([(prompt, config) for prompt in prompts], 2):
        traces[index].events.append(event)
    fits, too_long, fits_too = traces
    assert [type(event) for event in too_long.events] == [RunStarted, RunFailed]
    failed = too_long.first(RunFailed)
    assert failed is not None and "context holds 512; shorten the prompt" in failed.message
    for prompt, trace in ((PROMPT, fits), ("The lazy dog", fits_too)):
        assert trace.token_ids == run(engine, prompt, max_new_tokens=12).token_ids


def test_runs_that_have_not_begun_when_a_batch_stops_have_no_events(engine_of: EngineOf) -> None:
    engine = engine_of()
    config = RunConfig.from_dict({"max_new_tokens": 12})
    seen: list[int] = []
    runs = [(engine.raw_prompt(PROMPT), config)] * 5
    for index, _ in engine.run_batch(runs, 2, should_stop=lambda: len(seen) > 20):
        seen.append(index)
    assert {*seen} == {0, 1}


def test_too_few_questions_for_a_size_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert batches.main(["--sizes", "4", "--limit", "3"]) == 2
    assert "the largest size is 4 and 3 questions are there" in capsys.readouterr().err


@pytest.mark.parametrize(("sizes", "got"), [("0", "'0'"), ("1,x", "'x'"), ("999", "'999'")])
def test_bad_sizes_are_named(sizes: str, got: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert batches.main(["--sizes", sizes]) == 2
    assert f"sizes has {got}; give numbers from 1 to 256" in capsys.readouterr().err


def test_no_sizes_at_all_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert batches.main(["--sizes", ","]) == 2
    assert "sizes is empty; give numbers from 1 to 256" in capsys.readouterr().err
