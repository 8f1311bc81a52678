"""Models whose logits are no numbers: the run says so in a sentence, and the next one is whole."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core import generate, generate_batch
from core.backends.torch.linear import DenseLinear
from core.config import RunConfig
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.loading.loading import load_model
from core.quant.stack import dense_of
from core.trace.events import RunFailed, RunFinished, Verified
from core.trace.file import Trace, event_line, load_trace
from tests.core.conftest import PROMPT
from tests.core.decoding.test_modes import GREEDY, SAMPLED
from tests.tiny_folder import byte_tokenizer
from tests.tiny_models import tiny_model

NAN, INF = float("nan"), float("inf")
RULES: dict[str, dict[str, Any]] = {
    "greedy": {"sampling": GREEDY},
    "match": {"sampling": SAMPLED},
    "rejection": {"sampling": SAMPLED, "accept": "rejection"},
    "typical": {"sampling": SAMPLED, "accept": "typical"},
}
# Where the tokens of the tiny models' texts begin.
START = 61


def sentence(who: str, position: int) -> str:
    return (
        f"the {who}'s logits are NaN or infinite from position {position} on, so that no token can "
        "be chosen; give a model whose weights are whole, or another dtype."
    )


def save(folder: Path, change: Callable[[Any], None], family: str = "llama") -> str:
    """A model with other numbers in its weights; the head is not the embedding."""
    module = tiny_model(family)
    if family == "llama":
        module.config.tie_word_embeddings = False
        module.lm_head.weight = torch.nn.Parameter(module.lm_head.weight.clone(), False)
    change(module)
    module.generation_config.eos_token_id = None
    module.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def with_norm(value: float) -> Callable[[Any], None]:
    """Every logit of every row is broken."""

    def change(module: Any) -> None:
        norm = module.base_model.norm if hasattr(module.base_model, "norm") else None
        (norm or module.base_model.ln_f).weight[0] = value

    return change


def with_output(value: float) -> Callable[[Any], None]:
    """One token's logit is broken."""

    def change(module: Any) -> None:
        module.get_output_embeddings().weight[7, 0] = value

    return change


def with_input(token_id: int) -> Callable[[Any], None]:
    """All is well until the token is in the text."""

    def change(module: Any) -> None:
        module.get_input_embeddings().weight[token_id, 0] = NAN

    return change


def whole(module: Any) -> None:
    """Changes nothing."""


EngineOf = Callable[..., Engine]


@pytest.fixture
def engine_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> EngineOf:
    """A new engine on a folder, by what computes it."""

    def engine_of(folder: str, backend: str) -> Engine:
        is_compiled = backend in ("kernels", "packed")
        if is_compiled:
            request.getfixturevalue("kernels")
        if backend == "device":
            monkeypatch.setattr(
                "core.engine.make_graph_runner_cache",
                lambda target, forward: GraphRunnerCache(target.eos_token_ids, compile=False),
            )
        weights = "q8" if backend == "packed" else "full"
        dtype = "bfloat16" if backend == "bfloat16" else "float32"
        target = load_model(folder, dtype=dtype, compile=is_compiled, weights=weights)
        return Engine(target)

    return engine_of


def trace_of(engine: Engine, prompt: str = PROMPT, **settings: Any) -> Trace:
    settings = {"max_new_tokens": 40, "weights": engine.target.weights, **settings}
    config = RunConfig.from_dict(settings)
    return Trace(list(engine.run(engine.raw_prompt(prompt), config)))


def failure_of(trace: Trace) -> RunFailed:
    failed = trace.events[-1]
    assert isinstance(failed, RunFailed), failed
    assert failed.error == "BadLogitsError"
    return failed


BACKENDS = ["torch", "bfloat16", "kernels", "packed", "device"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_target_of_no_numbers_fails_before_the_first_token(
    backend: str, rule: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    engine = engine_of(save(tmp_path / "broken", with_norm(NAN)), backend)
    for mode in ("ngram", "naive") if "accept" not in RULES[rule] else ("ngram",):
        trace = trace_of(engine, mode=mode, **RULES[rule])
        assert failure_of(trace).message == sentence("target", START)
        assert not trace.token_ids and trace.first(RunFinished) is None


@pytest.mark.parametrize("value", [INF, -INF])
@pytest.mark.parametrize("backend", BACKENDS)
def test_infinite_weights_are_told_like_those_of_no_number(
    value: float, backend: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    """An infinite weight in a layer makes some sums infinite and others no number."""

    def change(module: Any) -> None:
        module.base_model.layers[1].mlp.down_proj.weight[3, 5] = value

    engine = engine_of(save(tmp_path / "broken", change), backend)
    failure_of(trace_of(engine))


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("backend", [*BACKENDS[:3], "device"])
def test_a_single_logit_of_no_number_is_enough(
    value: float, backend: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    engine = engine_of(save(tmp_path / "broken", with_output(value)), backend)
    for rule in ("greedy", "match"):
        trace = trace_of(engine, **RULES[rule])
        # An infinite weight times a state below zero excludes its token, until one is above.
        position = START + len(trace.token_ids)
        assert failure_of(trace).message == sentence("target", position)
        assert not (value is NAN and trace.token_ids)


@pytest.mark.parametrize("backend", ["transformers", "invariant"])
def test_other_ways_to_compute_are_checked_as_well(
    backend: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    family = "codegen" if backend == "transformers" else "llama"
    engine = engine_of(save(tmp_path / "broken", with_norm(NAN), family), backend)
    trace = trace_of(engine, invariant=backend == "invariant", trace_top_k=0)
    assert failure_of(trace).message == sentence("target", START)


@pytest.mark.parametrize("backend", ["torch", "kernels", "device", "invariant"])
def test_what_came_before_stays_and_the_next_run_is_whole(
    backend: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    """A cache that held no numbers must not reach the next run by what a mask hides."""
    invariant = backend == "invariant"
    healthy = engine_of(save(tmp_path / "whole", whole), backend)
    expected = trace_of(healthy, invariant=invariant).token_ids
    late = next(token for token in expected[5:] if token not in [*expected[:5], *PROMPT.encode()])
    assert late not in healthy.raw_prompt(PROMPT).token_ids
    place = expected.index(late)
    engine = engine_of(save(tmp_path / "broken", with_input(late)), backend)
    trace = trace_of(engine, invariant=invariant)
    assert trace.token_ids == expected[: place + 1]
    assert failure_of(trace).message == sentence("target", START + place + 1)
    again = trace_of(engine, invariant=invariant, max_new_tokens=place)
    assert again.token_ids == expected[:place]
    assert isinstance(again.events[-1], RunFinished)


@pytest.mark.parametrize("backend", ["torch", "kernels"])
@pytest.mark.parametrize("rule", ["greedy", "match"])
def test_in_a_batch_only_the_sequence_concerned_fails(
    rule: str, backend: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    engine = engine_of(save(tmp_path / "broken", with_input(170)), backend)
    config = RunConfig.from_dict(
        {"max_new_tokens": 12, "mode": "ngram", "drafter": {"fixed_size": True}, **RULES[rule]}
    )
    prompts = [[5, 6, 7, 5, 6], [5, 170, 7, 5], [9, 8, 7, 9, 8]]
    traces = [Trace([]) for _ in prompts]
    runs = [(Prompt("text", token_ids), config) for token_ids in prompts]
    for index, event in engine.run_batch(runs, 3):
        traces[index].events.append(event)
    assert failure_of(traces[1]).message == sentence("target", 4)
    for index in (0, 2):
        alone = Trace(list(engine.run(*runs[index])))
        assert isinstance(traces[index].events[-1], RunFinished)
        assert traces[index].token_ids == alone.token_ids and len(alone.token_ids) == 12


@pytest.mark.parametrize("rule", ["greedy", "match"])
@pytest.mark.parametrize("backend", ["torch", "kernels", "device"])
def test_a_head_that_excludes_tokens_is_no_fault(
    backend: str, rule: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    engine = engine_of(save(tmp_path / "whole", whole), backend)
    settings = {"mode": "ngram", "drafter": {"fixed_size": True, "min_match": 1}, **RULES[rule]}
    excluded = set(trace_of(engine, **settings).token_ids)
    forward: Any = engine._backend.forward
    dense = dense_of(forward.stack.head)
    assert dense is not None
    bias = torch.zeros(192).index_fill_(0, torch.tensor(sorted(excluded)), -INF)
    forward.use(replace(forward.stack, head=DenseLinear(dense.weight, bias)))
    trace = trace_of(engine, **settings)
    assert isinstance(trace.events[-1], RunFinished)
    assert trace.stats.num_drafted > 0 and not set(trace.token_ids) & excluded
    for event in trace.events:
        event_line(event)
    entropies = [value for event in trace.of_kind(Verified) for value in event.entropies_nats]
    assert min(entropies) > 0.0


def no_constant(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    save(home / "broken", with_norm(NAN))
    save(home / "target", whole)
    save(home / "no C", with_input(byte_tokenizer().get_vocab()["C"]))
    return home


def options(home: Path, target: str, *more: str) -> list[str]:
    return ["--target", str(home / target), "--no-compile", "--max-new-tokens", "4", *more]


def test_a_target_of_no_numbers_fails_with_its_sentence_in_every_form(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.jsonl"
    given = options(home, "broken", "--prompt", "Hi", "--json", "--trace", str(trace))
    assert generate.main(given) == 1
    told = capsys.readouterr()
    result = json.loads(told.out, parse_constant=no_constant)
    assert result["finish_reason"] == "failed" and result["token_ids"] == []
    position = len("user: Hi\nassistant: ")
    assert told.err == f"the run failed after 0 steps: {sentence('target', position)}\n"
    failed = load_trace(trace).events[-1]
    assert isinstance(failed, RunFailed) and failed.message == sentence("target", position)


def test_of_many_prompts_only_those_fail_that_meet_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Hello\nHello C\nBye\n", "utf-8")
    assert generate_batch.main(options(home, "no C", "--prompts", str(prompts))) == 1
    told = capsys.readouterr()
    lines = (json.loads(line, parse_constant=no_constant) for line in told.out.splitlines())
    answers = {answer["line"]: answer for answer in lines}
    assert {line: answer["finish_reason"] for line, answer in answers.items()} == {
        1: "length", 2: "failed", 3: "length",
    }  # fmt: skip
    assert "the target's logits are NaN or infinite" in answers[2]["error"]
    assert told.err.count("line 2 failed: the target's logits are NaN or infinite") == 1


def test_a_run_that_goes_on_without_its_drafter_says_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drafts = (
        "--mode", "sd-classic", "--draft", str(home / "broken"), "--fixed-size",
        "--draft-failure", "plain",
    )  # fmt: skip
    assert generate.main(options(home, "target", "--prompt", "Hi", *drafts)) == 0
    told = capsys.readouterr().err
    assert f"without drafts from step 1 on: {sentence('drafter', 20)}\n" in told
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Hi\n", "utf-8")
    assert generate_batch.main(options(home, "target", "--prompts", str(prompts), *drafts)) == 0
    told = capsys.readouterr().err
    assert f"line 1, without drafts from step 1 on: {sentence('drafter', 20)}\n" in told
