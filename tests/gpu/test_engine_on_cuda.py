"""What only a GPU shows: invariance in bf16, memory budgets, number formats, sentences."""

import pytest
import torch

from core.engine import Engine
from core.errors import SpecDecodesError
from core.loading.loading import load_model
from tests.core.conftest import own_cache_folder, run, tiny_home  # noqa: F401

pytestmark = pytest.mark.gpu


def load(tiny_home, dtype: str, **values) -> Engine:  # noqa: F811
    return Engine(load_model(str(tiny_home / "target"), dtype=dtype, device="cuda", **values))


@pytest.mark.parametrize("branching", [1, 3])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_shape_invariant_execution_agrees_in_every_bit(tiny_home, dtype, branching) -> None:  # noqa: F811
    engine = load(tiny_home, dtype, compile=False)
    plain = run(engine, device="cuda", invariant=True)
    cache = engine._invariant.cache
    length = cache.length
    expected = cache.storage[..., :length, :].clone()
    drafter = {"bits": 16, "depth": 4, "branching": branching, "fixed_size": True}
    engine.forget()
    drafted = run(engine, device="cuda", invariant=True, mode="share-sd", drafter=drafter)
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.acceptance_rate == 1.0
    common = min(length, cache.length)
    assert torch.equal(cache.storage[..., :common, :], expected[..., :common, :])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("mode", ["naive", "share-sd"])
def test_half_precision_is_decoded_the_same_each_time(tiny_home, dtype, mode) -> None:  # noqa: F811
    engine = load(tiny_home, dtype)
    drafter = {"drafter": {"group_size": 32, "fixed_size": True}} if mode == "share-sd" else {}
    texts = [run(engine, device="cuda", mode=mode, **drafter).token_ids for _ in range(4)]
    assert len(texts[0]) > 8
    assert texts[1:] == texts[:-1]


def test_streamed_layers_give_the_same_text_within_their_budget(tiny_home) -> None:  # noqa: F811
    expected = run(load(tiny_home, "float32"), device="cuda").token_ids
    budget = "1GiB"
    try:
        engine = load(tiny_home, "float32", gpu_memory=budget)
        torch.cuda.reset_peak_memory_stats()
        settings = {"device": "cuda", "gpu_memory": budget}
        drafter = {"group_size": 32, "depth": 6, "fixed_size": True}
        assert run(engine, **settings).token_ids == expected
        drafted = run(engine, mode="share-sd", drafter=drafter, **settings)
        assert drafted.token_ids == expected
        assert torch.cuda.max_memory_allocated() <= 2**30
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_budget_that_is_too_small_is_told_in_a_sentence(tiny_home) -> None:  # noqa: F811
    try:
        with pytest.raises(SpecDecodesError, match="gpu_memory"):
            load(tiny_home, "float32", gpu_memory="1kB")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_drafts_of_the_quantized_self_are_the_same_each_time(tiny_home, dtype) -> None:  # noqa: F811
    engine = load(tiny_home, dtype)
    drafter = {"bits": 4, "group_size": 32, "depth": 4, "branching": 2, "fixed_size": True}

    def drafts() -> list[tuple[list[int], list[float]]]:
        trace = run(engine, device="cuda", mode="share-sd", drafter=drafter)
        assert trace.events[0].draft["kernel"] == "cuda int4, cuda int8"  # layers and head
        return [
            (step.token_ids, step.draft_probs) for step in trace.events if step.kind == "drafted"
        ]

    first = drafts()
    assert all(drafts() == first for _ in range(3))
