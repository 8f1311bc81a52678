"""Token ids that an embedding has no row for: one sentence everywhere, and never what stands behind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.backends.cpu.library import Kernels
from core.backends.torch.invariant import invariant_sibling
from core.backends.torch.linear import DenseLinear
from core.config import RunConfig
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.forward import make_runner
from core.loading.loading import load_model
from core.trace.events import Committed, Drafted, RunFailed, RunFinished
from core.trace.file import Trace
from tests.core.conftest import PROMPT, run
from tests.core.decoding.test_modes import CHAIN, GREEDY, SAMPLED, TREE, draft_of
from tests.tiny_folder import byte_tokenizer
from tests.tiny_models import tiny_model

NUM_ROWS = 192
# The target says these; the draft model, whose table ends with the tokenizer's tokens, has no row.
LATE = range(181, NUM_ROWS)
REFUSED = (
    "the text has the token id {} and the model's embedding has 192 rows; give a model whose "
    "tokenizer goes with its weights."
)


def save(folder: Path, family: str = "llama", num_rows: int = NUM_ROWS, seed: int = 0) -> str:
    module = tiny_model(family, torch.float32, seed)
    module.resize_token_embeddings(num_rows)
    module.generation_config.eos_token_id = None
    module.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    save(home / "target", seed=13)
    save(home / "codegen", "codegen")
    save(home / "draft", num_rows=LATE.start, seed=13)
    return home


@pytest.fixture
def engine_of(home: Path, request: pytest.FixtureRequest) -> Callable[[str], Engine]:
    """A new engine by what computes its target."""

    def engine_of(backend: str) -> Engine:
        if backend == "kernels":
            request.getfixturevalue("kernels")
        name = "codegen" if backend == "transformers" else "target"
        is_compiled = backend == "kernels"
        return Engine(load_model(str(home / name), dtype="float32", compile=is_compiled))

    return engine_of


@pytest.mark.parametrize("backend", ["torch", "kernels", "transformers"])
@pytest.mark.parametrize("token_id", [NUM_ROWS, -1, 2**40])
def test_a_prompt_with_such_a_token_is_refused_before_the_run(
    token_id: int, backend: str, engine_of: Callable[[str], Engine]
) -> None:
    engine, config = engine_of(backend), RunConfig(max_new_tokens=2)
    for token_ids in ([5, token_id, 7], [5, 6, token_id]):
        bad = Prompt("text", token_ids)
        with pytest.raises(InvalidSettingError) as told:
            engine.run(bad, config)
        assert str(told.value) == REFUSED.format(token_id)
        runs = [(Prompt("text", [5]), config), (bad, config)]
        lasts = dict(engine.run_batch(runs, 2))
        assert isinstance(lasts[0], RunFinished)
        failed = lasts[1]
        assert isinstance(failed, RunFailed) and failed.message == REFUSED.format(token_id)


@pytest.mark.parametrize("is_invariant", [False, True], ids=["plain", "invariant"])
def test_rows_with_such_a_token_are_refused_before_they_are_computed(is_invariant: bool) -> None:
    runner = make_runner(tiny_model("llama"), 512)
    runner = invariant_sibling(runner) if is_invariant else runner
    runner.begin([5, 6, 7], 20, bool)
    before = runner.cache.storage.clone()
    for token_id in (NUM_ROWS, -1):
        with pytest.raises(InvalidSettingError, match="the model's embedding has 192 rows"):
            runner.forward_rows([3, token_id], [2, 3], None)
    assert torch.equal(runner.cache.storage, before)


@pytest.mark.parametrize("backend", ["torch", "kernels"])
def test_a_target_that_says_such_a_token_fails_there(
    backend: str, engine_of: Callable[[str], Engine]
) -> None:
    """Its head has outputs for which the embedding has no rows."""
    engine = engine_of(backend)
    whole = run(engine).token_ids
    limit = max(whole)
    forward: Any = engine._backend.forward
    table = forward.stack.embedding
    weight = table.weight if isinstance(table, DenseLinear) else table.dequantize()
    forward.use(replace(forward.stack, embedding=DenseLinear(weight[:limit].clone())))
    engine.forget()
    config = RunConfig.from_dict({"max_new_tokens": 40})
    trace = Trace(list(engine.run(engine.raw_prompt(PROMPT), config)))
    failed = trace.events[-1]
    assert isinstance(failed, RunFailed) and failed.error == "InvalidSettingError"
    assert failed.message == REFUSED.format(limit).replace("192", str(limit))
    assert trace.token_ids == whole[: whole.index(limit) + 1]


def classic(home: Path, shape: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"mode": "sd-classic", "draft": str(home / "draft"), "drafter": shape, **settings}


def assert_drafts_up_to_the_token(trace: Trace) -> None:
    """Drafts come as long as the draft model has rows for all tokens of the text, and then none."""
    first = next(index for index, token_id in enumerate(trace.token_ids) if token_id in LATE)
    num_told = 0
    sizes: dict[bool, list[int]] = {True: [], False: []}
    for drafted, committed in zip(trace.of_kind(Drafted), trace.of_kind(Committed), strict=True):
        assert not set(drafted.token_ids[1:]) & set(LATE)
        sizes[num_told <= first].append(len(drafted.token_ids) - 1)
        num_told += len(committed.token_ids)
    assert max(sizes[True]) > 0
    assert max(sizes[False]) == 0


@pytest.mark.parametrize(
    ("sampling", "accept"),
    [(GREEDY, "match"), (SAMPLED, "match"), ({**SAMPLED, "seed": 1}, "rejection")],
    ids=["greedy", "sampled", "rejection"],
)
@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
@pytest.mark.parametrize("backend", ["torch", "kernels"])
def test_a_draft_model_with_fewer_rows_drafts_until_such_a_token_is_in_the_text(
    backend: str, shape: dict[str, Any], sampling: dict[str, Any], accept: str, home: Path,
    engine_of: Callable[[str], Engine],
) -> None:  # fmt: skip
    engine = engine_of(backend)
    settings: dict[str, Any] = {"sampling": sampling, "max_new_tokens": 60}
    trace = run(engine, **classic(home, shape, accept=accept, **settings))
    assert_drafts_up_to_the_token(trace)
    if accept == "match":
        assert trace.token_ids == run(engine, **settings).token_ids
    assert draft_of(trace)["note"] == (
        "its embedding has 181 rows and the target 192 tokens; once one of the others is in the "
        "text, nothing is drafted any more"
    )


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_prompt_with_such_a_token_is_answered_without_drafts(
    sampling: dict[str, Any], home: Path
) -> None:
    engine = Engine(load_model(str(home / "target"), dtype="float32", compile=False))
    for token_ids in ([5, LATE[0], 6], [5, 6, LATE[0]]):
        config = RunConfig.from_dict(
            {**classic(home, TREE), "sampling": sampling, "max_new_tokens": 5}
        )
        trace = Trace(list(engine.run(Prompt("text", token_ids), config)))
        assert len(trace.token_ids) == 5
        assert {len(drafted.token_ids) for drafted in trace.of_kind(Drafted)} == {1}


def test_sequences_of_a_batch_stop_drafting_each_for_itself(home: Path, kernels: Kernels) -> None:
    engine = Engine(load_model(str(home / "target"), dtype="float32", compile=True))
    config = RunConfig.from_dict({**classic(home, TREE), "max_new_tokens": 20})
    prompts = [Prompt("text", [5, 6, 7]), Prompt("text", [5, LATE[0], 7])]
    traces = [Trace([]), Trace([])]
    for index, event in engine.run_batch([(prompt, config) for prompt in prompts], 2):
        traces[index].events.append(event)
    plain = RunConfig.from_dict({"max_new_tokens": 20})
    for prompt, trace in zip(prompts, traces, strict=True):
        assert trace.token_ids == Trace(list(engine.run(prompt, plain))).token_ids
    assert traces[0].stats.num_drafted > 0 and traces[1].stats.num_drafted == 0


def test_the_device_leaves_such_drafts_to_the_host(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that looks up a row behind the table loses its process."""
    monkeypatch.setattr(
        "core.engine.make_graph_runner_cache",
        lambda target, forward: GraphRunnerCache(target.eos_token_ids, compile=False),
    )
    engine = Engine(load_model(str(home / "target"), dtype="float32", compile=False))
    trace = run(engine, **classic(home, TREE))
    assert_drafts_up_to_the_token(trace)
    assert trace.token_ids == run(engine).token_ids
