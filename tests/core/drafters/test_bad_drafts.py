"""Drafters whose logits are no numbers: `draft_failure` says what becomes of the run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.backends.torch.weights import LayerStack
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.drafters import layer_skip, share_sd
from core.engine import Engine
from core.trace.events import Drafted, DrafterFailed, RunFailed
from core.trace.file import Trace
from tests.core.decoding.test_modes import CHAIN, TREE
from tests.core.test_bad_numbers import (
    NAN,
    RULES,
    START,
    EngineOf,
    engine_of,
    save,
    sentence,
    trace_of,
    whole,
    with_input,
    with_norm,
)
from tests.eagle_heads import eagle1_head, eagle3_head
from tests.tiny_models import tiny_model

__all__ = ["engine_of"]  # a fixture
MODES: dict[str, dict[str, Any]] = {
    "sd-classic": {},
    "sd-eagle": {},
    "share-sd": {"bits": 4, "group_size": 32},
    "layer-skip": {"layers": ["0", "2"]},
    "hybrid": {"bits": 4, "group_size": 32, "min_match": 32},
}


def broken_head(folder: Path, make: Callable[[Path, Any], str]) -> str:
    make(folder, tiny_model("llama").config)
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        for name in ("midlayer.mlp.down_proj.weight", "norm.weight"):
            if name in tensors:
                tensors[name].view(-1)[0] = NAN
        save_file(tensors, path)
    for path in folder.glob("pytorch_model.bin"):
        tensors = torch.load(path)
        tensors["layers.0.mlp.down_proj.weight"][0, 0] = NAN
        torch.save(tensors, path)
    return str(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    save(home / "target", whole)
    save(home / "draft", with_norm(NAN))
    broken_head(home / "head", eagle3_head)
    broken_head(home / "head1", eagle1_head)
    return home


def without_numbers(make: Callable[..., LayerStack]) -> Callable[..., LayerStack]:
    """A cheaper self of the target, as it is made, but for its last norm."""

    def made(*args: Any, **kwargs: Any) -> LayerStack:
        stack = make(*args, **kwargs)
        return replace(stack, final_norm=torch.full_like(stack.final_norm, NAN))

    return made


@pytest.fixture(autouse=True)
def broken_selves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_sd, "quantized_stack", without_numbers(share_sd.quantized_stack))
    monkeypatch.setattr(layer_skip, "subset", without_numbers(layer_skip.subset))


def settings_of(mode: str, home: Path, shape: dict[str, Any] = TREE) -> dict[str, Any]:
    names = {"sd-classic": "draft", "sd-eagle": "head"}
    draft = str(home / names[mode]) if mode in names else None
    return {"mode": mode, "draft": draft, "drafter": {**MODES[mode], **shape}}


def assert_goes_on_plain(trace: Trace, expected: list[int], step: int = 1) -> None:
    """All tokens of plain decoding, and one event that says why there are no drafts any more."""
    assert trace.token_ids == expected
    (failed,) = trace.of_kind(DrafterFailed)
    assert failed.error == "BadLogitsError" and failed.step == step
    assert failed.message.startswith("the drafter's logits are NaN or infinite from position ")
    drafts = {len(each.token_ids) for each in trace.of_kind(Drafted) if each.step >= step}
    assert drafts == {1}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
@pytest.mark.parametrize("mode", MODES)
def test_the_run_fails_or_goes_on_plain(
    mode: str, shape: dict[str, Any], rule: str, home: Path, engine_of: EngineOf
) -> None:
    engine = engine_of(str(home / "target"), "torch")
    settings = {**settings_of(mode, home, shape), **RULES[rule]}
    trace = trace_of(engine, **settings)
    failed = trace.events[-1]
    assert isinstance(failed, RunFailed) and failed.error == "BadLogitsError"
    assert failed.message == sentence("drafter", START)
    # Every rule has a stream of its own, so that what it draws is told by a run without drafts.
    drafts_nothing = {"mode": "ngram", "drafter": {"min_match": 32}}
    expected = trace_of(engine, **drafts_nothing, **RULES[rule])
    assert len(expected.token_ids) == 40 and expected.stats.num_drafted == 0
    trace = trace_of(engine, draft_failure="plain", **settings)
    assert_goes_on_plain(trace, expected.token_ids)


@pytest.mark.parametrize(
    ("backend", "rule"),
    [
        ("bfloat16", "greedy"),
        ("kernels", "match"),
        ("device", "greedy"),
        ("device", "match"),
        ("invariant", "greedy"),
        pytest.param("bfloat16", "match", marks=pytest.mark.slow),
        pytest.param("kernels", "greedy", marks=pytest.mark.slow),
        pytest.param("invariant", "match", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_so_it_is_whatever_computes(
    mode: str, backend: str, rule: str, home: Path, engine_of: EngineOf
) -> None:
    engine = engine_of(str(home / "target"), backend)
    common = {**RULES[rule], "invariant": backend == "invariant", "max_new_tokens": 12}
    expected = trace_of(engine, **common).token_ids
    settings = {**settings_of(mode, home), **common}
    for _ in range(2):  # what the first one left in a cache must not reach the second
        assert_goes_on_plain(trace_of(engine, draft_failure="plain", **settings), expected)
        failed = trace_of(engine, **settings).events[-1]
        assert isinstance(failed, RunFailed) and failed.message == sentence("drafter", START)


def test_heads_of_the_earlier_form_too(home: Path, engine_of: EngineOf) -> None:
    engine = engine_of(str(home / "target"), "torch")
    settings = {**settings_of("sd-eagle", home), "draft": str(home / "head1")}
    expected = trace_of(engine).token_ids
    assert_goes_on_plain(trace_of(engine, draft_failure="plain", **settings), expected)


@pytest.mark.parametrize("backend", ["torch", "kernels", "device", "invariant"])
def test_drafts_before_the_broken_one_stay(
    backend: str, home: Path, tmp_path: Path, engine_of: EngineOf
) -> None:
    """The draft model is the target until a token comes that only the target can read."""
    engine = engine_of(str(home / "target"), backend)
    common = {"invariant": backend == "invariant"}
    expected = trace_of(engine, **common).token_ids
    late = next(token for token in expected[12:] if token not in expected[:12])
    draft = save(tmp_path / "late", with_input(late))
    settings = {**settings_of("sd-classic", home, CHAIN), **common, "draft": draft}
    trace = trace_of(engine, draft_failure="plain", **settings)
    assert trace.stats.num_accepted > 4
    assert_goes_on_plain(trace, expected, next(trace.of_kind(DrafterFailed)).step)
    failed = trace_of(engine, **settings)
    assert isinstance(failed.events[-1], RunFailed)
    assert failed.token_ids and failed.token_ids == expected[: len(failed.token_ids)]


def test_of_a_batch_only_the_sequence_concerned_goes_on_plain(
    home: Path, tmp_path: Path, engine_of: EngineOf
) -> None:
    engine: Engine = engine_of(str(home / "target"), "kernels")
    draft = save(tmp_path / "late", with_input(170))
    settings = {**settings_of("sd-classic", home, CHAIN), "draft": draft, "max_new_tokens": 12}
    config = RunConfig.from_dict({**settings, "draft_failure": "plain"})
    prompts = [Prompt("text", [5, 6, 7]), Prompt("text", [5, 170, 7])]
    traces = [Trace([]) for _ in prompts]
    for index, event in engine.run_batch([(prompt, config) for prompt in prompts], 2):
        traces[index].events.append(event)
    plain = RunConfig.from_dict({"max_new_tokens": 12})
    expected = [Trace(list(engine.run(prompt, plain))).token_ids for prompt in prompts]
    assert traces[0].token_ids == expected[0] and traces[0].stats.num_drafted > 0
    assert traces[0].first(DrafterFailed) is None
    assert_goes_on_plain(traces[1], expected[1])
