"""The device's own steps on a GPU: captured graphs, Triton attention, no compilation in between."""

import pytest
import torch
from torch._dynamo.utils import counters

from core.acceptance.sampling import log_probs_under
from core.backends.cuda.attention import MaskedAttention, Rows
from core.backends.cuda.graphs import Graphs
from core.backends.torch.linear import DenseLinear
from core.backends.torch.weights import LayerWeights
from core.config import SamplingConfig
from core.families.architecture import Architecture, LayerKind
from core.trace.events import RunStarted
from tests.core.conftest import own_cache_folder, run, tiny_home  # noqa: F401
from tests.core.decoding.test_corrected_modes import SAMPLINGS
from tests.core.decoding.test_modes import CHAIN, GREEDY, MODES, SAMPLED, TREE, mode_settings

pytestmark = pytest.mark.gpu
NOTHING = DenseLinear(torch.empty(0, 0))


@pytest.mark.parametrize(
    ("shape", "sampling"),
    [(TREE, GREEDY), (CHAIN, SAMPLED)],
    ids=["tree, greedy", "chain, sampled"],
)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_text_of_plain_decoding(
    mode,
    shape,
    sampling,
    engines,
    tiny_home,  # noqa: F811
) -> None:
    eager, compiled = engines
    settings = mode_settings(mode, shape, tiny_home)
    expected = run(eager, device="cuda", sampling=sampling)
    for _ in range(3):  # eager, captured, replayed
        found = run(compiled, device="cuda", sampling=sampling, **settings)
        assert found.token_ids == expected.token_ids
    assert found.stats.num_drafted > 0


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("mode", ["naive", "ngram", "share-sd", "sd-eagle"])
def test_the_host_decides_under_penalties_and_every_mode_gives_the_text_of_plain_decoding(
    mode,
    sampling,
    engines,
    tiny_home,  # noqa: F811
) -> None:
    eager, compiled = engines
    settings = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    expected = run(eager, device="cuda", sampling=sampling)
    found = run(compiled, device="cuda", sampling=sampling, **settings)
    assert found.token_ids == expected.token_ids
    assert "only the host corrects" in found.first(RunStarted).target["host_steps"]


@pytest.mark.parametrize("mode", ["naive", "share-sd", "sd-eagle"])
def test_min_p_and_stop_strings_leave_the_steps_to_the_device(
    mode,
    engines,
    tiny_home,  # noqa: F811
) -> None:
    eager, compiled = engines
    own = {} if mode == "naive" else mode_settings(mode, TREE, tiny_home)
    settings = {"device": "cuda", "sampling": {**SAMPLED, "min_p": 0.03}}
    whole = run(eager, **settings)
    stop = whole.text[12:15]
    expected = run(eager, **settings, stop=[stop])
    for _ in range(3):  # eager, captured, replayed
        found = run(compiled, **settings, stop=[stop], **own)
        assert (found.token_ids, found.text) == (expected.token_ids, expected.text)
        assert found.first(RunStarted).target.get("host_steps") is None
    assert run(compiled, **settings, **own).token_ids == whole.token_ids


@pytest.mark.parametrize("narrowing", [{"top_k": 20}, {"top_p": 0.9}, {"min_p": 0.1}])
def test_what_narrows_a_distribution_is_captured_over_a_large_vocabulary(narrowing) -> None:
    """A nucleus wider than the first candidates was asked about in the middle of the capture."""
    logits = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0))
    sampling = SamplingConfig(temperature=1.0, **narrowing)
    found = torch.empty_like(logits, device="cuda")
    on_device, graphs = logits.to("cuda"), Graphs(found.device)
    for _ in range(3):  # eager, captured, replayed
        graphs.run("narrowed", lambda: found.copy_(log_probs_under(on_device, sampling)))
    assert graphs.num_captured == 1
    torch.testing.assert_close(found.cpu().exp(), log_probs_under(logits, sampling).exp())


def test_nothing_is_compiled_or_captured_once_a_mode_was_run(engines, tiny_home) -> None:  # noqa: F811
    _, compiled = engines
    settings = mode_settings("share-sd", TREE, tiny_home)
    for _ in range(2):
        run(compiled, device="cuda", **settings)
    cache = compiled._graphs
    assert cache is not None
    (graph_runner,) = [one for one in cache._graph_runners.values() if one.drafter][-1:]
    before = counters["stats"]["unique_graphs"], graph_runner.graphs.num_captured
    run(compiled, device="cuda", **settings)
    assert (counters["stats"]["unique_graphs"], graph_runner.graphs.num_captured) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("sizes", "rows", "width", "start"),
    [((9, 3, 64), 1, 1, 700), ((32, 32, 128), 5, 7, 130), ((9, 3, 64), 48, 48, 0),
     ((4, 2, 32), 3, 70, 64), ((8, 4, 256), 33, 40, 300), ((8, 2, 96), 9, 9, 200),
     ((2, 1, 8), 2, 2, 30)],
)  # fmt: skip
@pytest.mark.parametrize(
    ("kind", "cap", "has_sinks"),
    [
        (LayerKind(), None, False),
        (LayerKind(window=37), 3.0, False),
        (LayerKind(chunk=37), None, True),
    ],
    ids=["all", "window, cap", "chunk, sinks"],
)
def test_triton_attention_equals_torchs(
    kind, cap, has_sinks, sizes, rows, width, start, dtype
) -> None:
    from core.backends.cuda.triton_attention import TritonAttention

    torch.manual_seed(0)
    heads, kv_heads, dim = sizes
    storage = torch.randn(2, kv_heads, 1024, dim, device="cuda", dtype=dtype)
    queries = torch.randn(rows, heads, dim, device="cuda", dtype=dtype)
    tree = torch.rand(rows, width, device="cuda") < 0.5
    itself = torch.arange(rows, device="cuda") % width
    tree_positions = start + torch.arange(width, device="cuda") // 3
    tree &= tree_positions[None] <= tree_positions[itself, None]  # as ancestors stand
    tree[torch.arange(rows, device="cuda"), itself] = True
    given = Rows(
        itself, tree_positions[itself], itself, torch.tensor([start], device="cuda"), tree,
        tree_positions,
    )  # fmt: skip
    shape = Architecture(1, heads, kv_heads, dim, 8, 1e-5, attention_cap=cap, attention_scale=0.2)
    sinks = torch.randn(heads, device="cuda", dtype=dtype) if has_sinks else None
    layer = LayerWeights(
        0, None, NOTHING, None, None, NOTHING, None, None, None, sinks=sinks, kind=kind
    )
    masked = MaskedAttention(shape)
    expected = masked(layer, queries.float(), storage.float(), given, masked.prepare(given, 1024))
    overlaps = torch.cuda.get_device_capability()[0] >= 9
    kernel = TritonAttention(shape, 132, overlaps=overlaps)
    found = kernel(layer, queries, storage, given, kernel.prepare(given, 1024))
    error = (found.float() - expected).norm() / expected.norm()
    assert error < {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]
