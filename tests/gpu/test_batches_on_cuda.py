"""Batches whose steps the device does together, in captured graphs: the texts of sequences alone.

The attention also runs with TRITON_INTERPRET=1 on a CPU.
"""

import os

import pytest
import torch

from core.backends.cuda.attention import MaskedAttention, Rows
from core.backends.torch.linear import DenseLinear
from core.backends.torch.weights import LayerWeights
from core.families.architecture import Architecture, LayerKind
from core.trace.events import RunStarted
from tests.core.conftest import own_cache_folder, run, tiny_home  # noqa: F401
from tests.core.decoding.test_batches import PROMPTS, ragged, run_batch
from tests.core.decoding.test_modes import CHAIN, GREEDY, MODES, SAMPLED, TREE, mode_settings

pytestmark = pytest.mark.gpu
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
# The interpreter has no other.
DTYPES = [torch.float32] if DEVICE == "cpu" else [torch.float32, torch.bfloat16]
NOTHING = DenseLinear(torch.empty(0, 0))
ON_HOST = ("sd-medusa",)


@pytest.mark.parametrize(
    ("shape", "sampling"),
    [(TREE, GREEDY), (CHAIN, SAMPLED)],
    ids=["tree, greedy", "chain, sampled"],
)
@pytest.mark.parametrize("mode", ["naive", *MODES])
def test_every_sequence_has_the_text_that_it_has_alone(
    mode,
    shape,
    sampling,
    engines,
    tiny_home,  # noqa: F811
) -> None:
    eager, compiled = engines
    own = {} if mode == "naive" else mode_settings(mode, shape, tiny_home)
    settings = [{**values, "device": "cuda"} for values in ragged(own, sampling)]
    expected = [
        run(
            eager, prompt, device="cuda", max_new_tokens=alone["max_new_tokens"],
            sampling=alone["sampling"],
        ).token_ids
        for prompt, alone in zip(PROMPTS, settings, strict=True)
    ]  # fmt: skip
    for _ in range(3):  # eager, captured, replayed
        together = run_batch(compiled, settings)
        assert [trace.token_ids for trace in together] == expected
        told = ["host_steps" in trace.first(RunStarted).target for trace in together]
        assert told == [mode in ON_HOST] * len(PROMPTS)
    if mode != "naive":
        assert sum(trace.stats.num_drafted for trace in together) > 0


@pytest.mark.parametrize("mode", ["naive", "ngram", "sd-eagle", "share-sd"])
def test_sizes_by_measured_cost_give_the_same_text(mode, engines, tiny_home) -> None:  # noqa: F811
    eager, compiled = engines
    own = {"device": "cuda"}
    if mode != "naive":
        own |= mode_settings(mode, {"depth": 4, "branching": 2}, tiny_home)
    expected = [run(eager, prompt, device="cuda").token_ids for prompt in PROMPTS]
    for size in (5, 2, 5):
        together = run_batch(compiled, [own] * len(PROMPTS), size)
        assert [trace.token_ids for trace in together] == expected


def test_nothing_is_captured_once_a_batch_was_run_three_times(engines, tiny_home) -> None:  # noqa: F811
    _, compiled = engines
    settings = [{**mode_settings("sd-eagle", TREE, tiny_home), "device": "cuda"}] * len(PROMPTS)
    for _ in range(3):
        run_batch(compiled, settings, 5)
    pool = compiled._graphs._pool
    before = pool.graph_runner.graphs.num_captured
    run_batch(compiled, settings, 5)
    assert compiled._graphs._pool is pool and before > 0
    assert pool.graph_runner.graphs.num_captured == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "rows", "width", "starts"),
    [((9, 3, 64), 1, 1, (70, 3, 0)), ((4, 2, 32), 5, 7, (130, 0, 44, 9)),
     ((8, 8, 128), 30, 30, (10, 200))],
)  # fmt: skip
@pytest.mark.parametrize(
    ("kind", "has_sinks"),
    [(LayerKind(), False), (LayerKind(window=37), False), (LayerKind(chunk=37), True)],
    ids=["all", "window", "chunk, sinks"],
)
def test_attention_of_several_sequences_equals_torchs(
    kind, has_sinks, sizes, rows, width, starts, dtype
) -> None:
    from core.backends.cuda.triton_attention import TritonAttention

    torch.manual_seed(0)
    (heads, kv_heads, dim), count, region = sizes, len(starts), 320

    def random(*numbers):
        return torch.randn(numbers).to(DEVICE, dtype)

    storage, queries = (
        random(2, kv_heads, region * (count + 1), dim),
        random(count * rows, heads, dim),
    )
    start = torch.tensor(starts)
    places = torch.arange(rows) % width
    itself = places.repeat(count)
    tree_positions = start[:, None] + torch.arange(width) // 3
    positions = tree_positions[:, places].flatten()
    tree = torch.rand(count * rows, width) < 0.5
    tree &= tree_positions.repeat_interleave(rows, 0) <= positions[:, None]  # as ancestors stand
    tree[torch.arange(count * rows), itself] = True
    origin = torch.randperm(count + 1)[:count] * region
    given = Rows(
        *(
            part.to(DEVICE)
            for part in (itself, positions, itself, start, tree, tree_positions.flatten(), origin)
        )
    )
    shape = Architecture(1, heads, kv_heads, dim, 8, 1e-5, attention_scale=0.2)
    sinks = random(heads) if has_sinks else None
    layer = LayerWeights(
        0, None, NOTHING, None, None, NOTHING, None, None, None, sinks=sinks, kind=kind
    )
    capacity, masked = storage.shape[2], MaskedAttention(shape)
    mask = masked.prepare(given, capacity)
    expected = masked(layer, queries.float(), storage.float(), given, mask)
    overlaps = DEVICE == "cuda" and torch.cuda.get_device_capability()[0] >= 9
    kernel = TritonAttention(shape, 132, overlaps=overlaps)
    found = kernel(layer, queries, storage, given, kernel.prepare(given, capacity))
    error = (found.float() - expected).norm() / expected.norm()
    assert error < {torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
