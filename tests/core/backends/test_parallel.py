"""Layers that several devices share out, the processor standing in for all of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.backends.cuda.attention import MaskedAttention
from core.backends.cuda.parallel import ParallelDeviceForward, add_on_host
from core.backends.cuda.pieces import Pieces
from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.backends.torch.parallel import ParallelCache, ParallelForward, ParallelRunner
from core.backends.torch.parallel_weights import parallel_reason, parallel_stack
from core.config import RunConfig
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.engine import Engine
from core.errors import DrafterUnavailableError, InvalidSettingError
from core.loading.forward import make_runner
from core.loading.loading import load_model
from core.models.model_config import model_config_of
from core.trace.events import Accepted, Committed, RunStarted
from core.trees.tree import DraftTree
from tests.core.backends.cuda.test_forward import DENSE, rows_of
from tests.core.conftest import PROMPT, run
from tests.core.decoding.test_modes import GREEDY, SAMPLED, TREE, EngineOf, mode_settings
from tests.core.families.family_configs import random_module
from tests.core.families.test_families import TREES, random_tokens

# Sums are added in another order.
TOLERANCE = 3e-5
PROCESSOR = torch.device("cpu")
NORMED_TOGETHER = ("olmo2", "olmo3")


def parallel_runner(whole: ModelRunner, module: Any, count: int) -> ParallelRunner:
    """The same model on so many devices."""
    assert isinstance(whole.forward, TorchForward)
    shape, rotations = whole.forward.shape, model_config_of(module).rotations
    stack = parallel_stack(shape, whole.forward.stack, [PROCESSOR] * count)
    forward = ParallelForward(shape, stack, rotations, whole.dtype)
    return ParallelRunner(forward, shape, whole.context_limit, whole.dtype, PROCESSOR)


@pytest.mark.parametrize("family", DENSE)
def test_several_devices_compute_what_one_computes(family: str) -> None:
    """Eagerly, and as the devices do alone; the cache of each holds what its heads need."""
    module = random_module(family)
    whole = make_runner(module, 512)
    assert isinstance(whole.forward, TorchForward)
    shape = whole.forward.shape
    count = next(number for number in (2, 3, 1) if shape.num_kv_heads % number == 0)
    reason = parallel_reason(shape, whole.forward.stack, count)
    if family in NORMED_TOGETHER:
        assert reason is not None and "normed over all heads" in reason
        return
    assert reason is None
    runner = parallel_runner(whole, module, count)
    token_ids = random_tokens()
    for one in (whole, runner):
        one.begin(token_ids[:30], 64, bool)
    assert isinstance(runner.forward, ParallelForward) and isinstance(runner.cache, ParallelCache)
    forward = ParallelDeviceForward(
        runner.forward,
        runner.cache,
        Pieces(compile=False),
        lambda part, device: MaskedAttention(part.shape),
        add_on_host,
    )
    fresh = iter(token_ids[29:])
    for parents, path in TREES:
        tree = DraftTree(next(fresh))
        for parent in parents:
            tree.add(parent, next(fresh), 1.0)
        expected = whole.tree_forward(tree).clone()
        alone, made = forward(rows_of(tree, runner))
        eager = runner.tree_forward(tree)
        assert alone is not None and len(made) == len(tree)
        for found in (alone, eager):
            assert found.shape == expected.shape
            assert float((found - expected).norm() / expected.norm()) < TOLERANCE
        for one in (whole, runner):
            one.commit(list(path))


@pytest.fixture
def parallel_engines(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Of two devices: the host decides the steps of one, and nobody the other's."""
    target = load_model(str(tiny_home / "target"), dtype="float32", placement=2)
    host = Engine(target)
    with monkeypatch.context() as patched:
        patched.setattr(
            "core.engine.make_graph_runner_cache",
            lambda target, forward: GraphRunnerCache(target.eos_token_ids, compile=False),
        )
        return [host, Engine(target)]


@pytest.mark.parametrize(
    ("mode", "sampling"),
    [
        ("naive", GREEDY),
        ("ngram", SAMPLED),
        ("sd-eagle", GREEDY),
        ("sd-block", SAMPLED),
        ("sd-medusa", GREEDY),
    ],
    ids=[
        "naive, greedy",
        "ngram, sampled",
        "sd-eagle, greedy",
        "sd-block, sampled",
        "sd-medusa, greedy",
    ],
)
def test_every_mode_gives_the_text_of_one_device(
    mode: str,
    sampling: dict[str, Any],
    engine_of: EngineOf,
    parallel_engines: list[Engine],
    tiny_home: Path,
) -> None:
    settings = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    expected = run(engine_of("float32"), sampling=sampling).token_ids
    for engine in parallel_engines:
        found = run(engine, sampling=sampling, **settings)
        assert found.token_ids == expected
        started = found.events[0]
        assert isinstance(started, RunStarted)
        assert started.target["forward"].startswith("lean on 2 GPUs")


@pytest.mark.parametrize("mode", ["sd-classic", "hybrid"])
def test_accepted_paths_are_moved_on_all_devices(
    mode: str, engine_of: EngineOf, parallel_engines: list[Engine], tiny_home: Path
) -> None:
    """The target drafts for itself, so that every path is accepted."""
    draft = str(tiny_home / "target")
    expected = run(engine_of("float32"))
    for engine in parallel_engines:
        found = run(engine, mode=mode, draft=draft, drafter=TREE)
        assert found.token_ids == expected.token_ids
        paths = [event.path for event in found.events if isinstance(event, Accepted)]
        assert any(path != list(range(1, len(path) + 1)) for path in paths), "none was moved"


def test_batches_give_the_text_of_one_device(
    engine_of: EngineOf, parallel_engines: list[Engine]
) -> None:
    prompts, config = (PROMPT, PROMPT[5:]), RunConfig(mode="ngram", max_new_tokens=12)

    def texts(engine: Engine) -> dict[int, list[int]]:
        runs = [(engine.raw_prompt(prompt), config) for prompt in prompts]
        found: dict[int, list[int]] = {0: [], 1: []}
        for index, event in engine.run_batch(runs, size=2):
            if isinstance(event, Committed):
                found[index] += event.token_ids
        return found

    assert texts(parallel_engines[0]) == texts(engine_of("float32"))


def test_what_cannot_be_shared_out_is_said(parallel_engines: list[Engine], tiny_home: Path) -> None:
    engine = parallel_engines[0]
    for mode in ("share-sd", "layer-skip"):
        reason = engine.unavailable_reason(mode)
        assert reason is not None and "which 2 GPUs share out" in reason
    with pytest.raises(InvalidSettingError, match="tensor_parallel is for device cuda"):
        RunConfig(tensor_parallel=2)
    for other in ({"gpu_memory": "8GiB"}, {"spread": True}, {"invariant": True}):
        with pytest.raises(InvalidSettingError, match="exclude each other"):
            RunConfig.from_dict({"device": "cuda", "tensor_parallel": 2, **other})
    target = str(tiny_home / "target")
    with pytest.raises(InvalidSettingError, match="which 5 GPUs cannot share"):
        load_model(target, placement=5)
    with pytest.raises(InvalidSettingError, match="shares out full weights"):
        load_model(target, placement=2, weights="q4")
    with pytest.raises(DrafterUnavailableError, match="is for one GPU"):
        run(engine, PROMPT, invariant=True)
