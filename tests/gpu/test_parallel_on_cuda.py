"""Layers that two GPUs share out: the same sums on both, and the text of one."""

import pytest
import torch

from core.backends.cuda.graphs import Graphs
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Accepted, RunStarted
from tests.core.conftest import own_cache_folder, run, tiny_home  # noqa: F401
from tests.core.decoding.test_modes import CHAIN, GREEDY, SAMPLED, TREE, mode_settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two GPUs"),
]
COUNT = 2


def devices() -> list[torch.device]:
    return [torch.device("cuda", index) for index in range(COUNT)]


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 48, 257])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_have_the_same_sums(dtype, rows, with_residual) -> None:
    """Eagerly and in graphs, turn by turn, each turn with other numbers."""
    from core.backends.cuda.kernels.sums import SumsOnAll

    hidden, scale = 576, 0.5
    sums = SumsOnAll(devices(), dtype, 257 * hidden * 4)
    parts = [torch.zeros(rows, hidden, dtype=dtype, device=d) for d in devices()]
    residuals = [torch.zeros(rows, hidden, dtype=dtype, device=d) for d in devices()]
    graphs, outs = Graphs(*devices()[:1], devices()[1:]), {}

    def add() -> None:
        found = sums(parts, residuals, scale) if with_residual else sums(parts)
        for index, tensor in enumerate(found):
            outs[index] = tensor

    for turn in range(6):
        torch.manual_seed(turn)
        residual = torch.randn(rows, hidden).to(dtype)
        numbers = [torch.randn(rows, hidden).to(dtype) for _ in parts]
        for part, own, number in zip(parts, residuals, numbers, strict=True):
            part.copy_(number)
            own.copy_(residual)
        torch.cuda.synchronize(1)  # the first device does not know of the copies to the second
        graphs.run("add", add)
        torch.cuda.synchronize(0)
        total = numbers[0].float() + numbers[1].float()
        if with_residual:
            total = torch.addcmul(residual.float(), total, torch.tensor(scale))
        assert torch.equal(outs[0].cpu(), outs[1].cpu())
        assert torch.allclose(outs[0].cpu().float(), total.to(dtype).float(), rtol=1e-2, atol=1e-6)


@pytest.fixture(scope="module")
def engines(tiny_home) -> tuple[Engine, Engine, Engine]:  # noqa: F811
    """Of one GPU, of two whose steps the host decides, and of two that decide alone."""
    torch.backends.cuda.matmul.allow_tf32 = False
    name = str(tiny_home / "target")

    def load(**values) -> Engine:
        return Engine(load_model(name, dtype="float32", device="cuda", **values))

    return load(compile=False), load(compile=False, placement=COUNT), load(placement=COUNT)


@pytest.mark.parametrize(
    ("shape", "sampling"),
    [(TREE, GREEDY), (CHAIN, SAMPLED)],
    ids=["tree, greedy", "chain, sampled"],
)
@pytest.mark.parametrize(
    "mode", ["naive", "ngram", "sd-classic", "sd-eagle", "sd-block", "sd-medusa"]
)
def test_two_gpus_give_the_text_of_one(mode, shape, sampling, engines, tiny_home) -> None:  # noqa: F811
    whole, *shared = engines
    settings = {} if mode == "naive" else mode_settings(mode, shape, tiny_home)
    expected = run(whole, device="cuda", sampling=sampling)
    for engine in shared:
        for _ in range(3):  # eager, captured, replayed
            found = run(engine, device="cuda", sampling=sampling, **settings)
            assert found.token_ids == expected.token_ids
        started = found.events[0]
        assert isinstance(started, RunStarted)
        assert started.config["tensor_parallel"] == COUNT
        # A layer in front of Medusa's heads has the host decide.
        is_alone = engine is shared[-1] and mode != "sd-medusa"
        assert started.target["forward"] == "lean on 2 GPUs" + ", compiled" * is_alone


def test_accepted_paths_are_moved_on_both(engines, tiny_home) -> None:  # noqa: F811
    whole, *shared = engines
    settings = {"mode": "sd-classic", "draft": str(tiny_home / "target"), "drafter": TREE}
    expected = run(whole, device="cuda")
    for engine in shared:
        for _ in range(3):
            found = run(engine, device="cuda", **settings)
            assert found.token_ids == expected.token_ids
        paths = [event.path for event in found.events if isinstance(event, Accepted)]
        assert any(path != list(range(1, len(path) + 1)) for path in paths), "none was moved"


def test_bfloat16_is_decoded_the_same_each_time(tiny_home) -> None:  # noqa: F811
    name = str(tiny_home / "target")
    engine = Engine(load_model(name, dtype="bfloat16", device="cuda", placement=COUNT))
    texts = [run(engine, device="cuda").token_ids for _ in range(4)]
    assert len(texts[0]) > 8 and texts[1:] == texts[:-1]


def test_sizes_are_chosen_by_the_cost_on_both(engines, tiny_home) -> None:  # noqa: F811
    whole, _, shared = engines
    settings = mode_settings("sd-eagle", {"depth": 4, "branching": 2}, tiny_home)
    for _ in range(3):
        found = run(shared, device="cuda", **settings)
    assert found.token_ids == run(whole, device="cuda").token_ids
    assert found.events[0].target["forward_ms"]


def test_layers_spread_over_gpus_give_the_text_of_one(tiny_home, engines) -> None:  # noqa: F811
    """accelerate places them; accepted paths are moved on every GPU."""
    name = str(tiny_home / "target")
    engine = Engine(load_model(name, dtype="float32", device="cuda", placement="spread"))
    expected = run(engines[0], device="cuda").token_ids
    drafting = {"mode": "sd-classic", "draft": name, "drafter": TREE}
    for settings in ({}, {"mode": "ngram"}, drafting):
        found = run(engine, device="cuda", spread=True, **settings)
        assert found.token_ids == expected
