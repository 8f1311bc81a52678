"""The compiled kernels against torch, and their promise that a row's bits depend on it alone."""

from pathlib import Path

import pytest
import torch

from core.backends.cpu.build import built_library
from core.backends.cpu.forward import CpuForward
from core.backends.cpu.library import Kernels
from core.backends.cpu.linear import cpu_bytes, cpu_dense, cpu_grid
from core.backends.runner import ModelRunner
from core.backends.torch.linear import WeightGrid
from core.errors import KernelsUnavailableError
from core.loading.forward import make_runner
from core.runtime.storage import no_progress
from core.trees.tree import DraftTree
from tests.tiny_models import FAMILIES, tiny_model

PROMPT = [5, 17, 99, 3, 42, 42, 7]
never = bool  # called without arguments it is False
OWN = [family for family in FAMILIES if family != "codegen"]


def cpu_runner(kernels: Kernels, family: str = "llama") -> ModelRunner:
    runner = make_runner(tiny_model(family), 512, kernels=kernels)
    assert isinstance(runner.forward, CpuForward)
    return runner


def a_tree(root: int) -> DraftTree:
    tree = DraftTree(root)
    first, second = tree.add(0, 11, 0.5), tree.add(0, 12, 0.4)
    tree.add(second, 13, 0.5)
    deep = tree.add(first, 14, 0.5)
    tree.add(first, 15, 0.5)
    tree.add(deep, 16, 0.5)
    return tree


@pytest.mark.parametrize("family", OWN)
def test_logits_are_those_of_torch(kernels_of_each_level: Kernels, family: str) -> None:
    expected_of = make_runner(tiny_model(family), 512)
    runner = cpu_runner(kernels_of_each_level, family)
    tree = a_tree(PROMPT[-1])
    for each in (expected_of, runner):
        each.begin(PROMPT, 100, never)
    torch.testing.assert_close(
        runner.tree_forward(tree), expected_of.tree_forward(tree), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_branch_of_a_tree_has_the_bits_of_plain_decoding(kernels: Kernels, family: str) -> None:
    tree = a_tree(PROMPT[-1])
    runner = cpu_runner(kernels, family)
    runner.begin(PROMPT, 100, never)
    logits = runner.tree_forward(tree).clone()
    for node in range(len(tree)):
        plain = cpu_runner(kernels, family)
        plain.begin(PROMPT, 100, never)
        for token_id in [PROMPT[-1], *tree.path_token_ids(node)]:
            alone = plain.tree_forward(DraftTree(token_id))
            plain.commit([])
        assert torch.equal(alone[0], logits[node])


def chain_logits(kernels: Kernels, length: int) -> torch.Tensor:
    runner = cpu_runner(kernels)
    runner.begin(PROMPT, 100, never)
    chain = DraftTree(PROMPT[-1])
    for node in range(length - 1):
        chain.add(node, 10 + node, 0.5)
    return runner.tree_forward(chain).clone()


def test_bits_do_not_change_with_the_number_of_rows(kernels_of_each_level: Kernels) -> None:
    rows = [
        chain_logits(kernels_of_each_level, length) for length in (1, 2, 3, 4, 5, 7, 8, 11, 16, 21)
    ]
    for part in rows:
        assert torch.equal(part, rows[-1][: len(part)])


@pytest.mark.parametrize("num_threads", [1, 2, 3, 5])
def test_bits_do_not_change_with_the_number_of_threads(
    kernels: Kernels, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = chain_logits(kernels, 9)
    monkeypatch.setattr("torch.get_num_threads", lambda: num_threads)
    assert torch.equal(chain_logits(kernels, 9), expected)


def test_a_prompt_has_the_bits_of_its_tokens_one_by_one(kernels: Kernels) -> None:
    prompt = [(7 * place) % 90 + 3 for place in range(150)]
    at_once, one_by_one = cpu_runner(kernels), cpu_runner(kernels)
    at_once.begin(prompt, 60, never)
    one_by_one.begin(prompt[:1], 210, never)
    for token_id in prompt[:-1]:
        one_by_one.tree_forward(DraftTree(token_id))
        one_by_one.commit([])
    tree = a_tree(prompt[-1])
    assert torch.equal(at_once.tree_forward(tree), one_by_one.tree_forward(tree))


def random_grid(bits: int, group_size: int, scales_dtype: torch.dtype) -> WeightGrid:
    generator = torch.Generator().manual_seed(bits)
    values = torch.randint(0, 2**bits, (40, 128), generator=generator, dtype=torch.uint8)
    scales, offsets = torch.randn(2, 40, 128 // group_size, generator=generator)
    return WeightGrid(
        values, scales.to(scales_dtype).float(), offsets.to(scales_dtype).float(), bits
    )


@pytest.mark.parametrize("scales_dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("group_size", [32, 64])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_kernels_hold_a_grid_exactly(
    kernels: Kernels, bits: int, group_size: int, scales_dtype: torch.dtype
) -> None:
    grid = random_grid(bits, group_size, scales_dtype)
    linear = cpu_grid(kernels, grid, None)
    exact = grid.values.double().view(40, -1, group_size) * grid.scales[:, :, None].double()
    exact = (exact + grid.offsets[:, :, None].double()).view(40, 128).float()
    assert torch.equal(linear.dequantize(), exact)
    assert torch.equal(linear.rows(torch.tensor([5, 0, 39])), exact[[5, 0, 39]])


def test_eight_bits_without_an_offset_are_exact(kernels: Kernels) -> None:
    """The grid of Q8_0."""
    grid = random_grid(8, 32, torch.float16)
    grid = grid._replace(offsets=-128.0 * grid.scales)
    groups = (grid.values.float() - 128.0).view(40, -1, 32) * grid.scales[:, :, None]
    assert torch.equal(cpu_grid(kernels, grid, None).dequantize(), groups.view(40, 128))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dense_weights_are_halved_only_where_that_is_exact(
    kernels: Kernels, dtype: torch.dtype
) -> None:
    weight = torch.randn(32, 64).to(dtype).float()
    linear = cpu_dense(kernels, weight, None)
    assert torch.equal(linear.dequantize(), weight)
    assert torch.equal(linear.rows(torch.tensor([31, 0])), weight[[31, 0]])
    assert linear.num_bytes == weight.nbytes // (1 if dtype == torch.float32 else 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halved_weights_give_the_bits_of_wide_ones(
    kernels_of_each_level: Kernels, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tiny_model("llama").to(dtype).float()

    def logits() -> torch.Tensor:
        runner = make_runner(module, 512, kernels=kernels_of_each_level)
        runner.begin(PROMPT, 100, never)
        return runner.tree_forward(a_tree(PROMPT[-1])).clone()

    halved = logits()
    monkeypatch.setattr("core.backends.cpu.linear._HALVES", {})
    assert torch.equal(logits(), halved)


def test_rows_in_bfloat16_are_rounded_one_by_one(kernels_of_each_level: Kernels) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(40, 96).bfloat16(), torch.randn(40)
    linear = cpu_dense(kernels_of_each_level, weight, bias, rounds_rows=True)
    assert linear.kernel == "native bf16, rows in bf16"
    x = torch.randn(21, 96)
    expected = x.bfloat16().double() @ weight.double().T + bias.double()
    torch.testing.assert_close(linear(x).double(), expected, rtol=1e-5, atol=1e-5)
    for count in (1, 2, 3, 5, 8, 17):
        assert torch.equal(linear(x[:count]), linear(x)[:count])


def test_weights_rounded_to_eight_bits_are_near_and_exact_where_they_fit(kernels: Kernels) -> None:
    torch.manual_seed(0)
    weight = torch.randn(24, 96)
    rounded = cpu_bytes(kernels, weight, None).dequantize()
    largest = weight.view(24, 3, 32).abs().amax(dim=-1, keepdim=True)
    bound = (0.505 / 127 * largest).expand(24, 3, 32).reshape(24, 96)
    assert bool(((rounded - weight).abs() <= bound).all())
    assert torch.equal(cpu_bytes(kernels, rounded, None).dequantize(), rounded)
    assert torch.equal(
        cpu_bytes(kernels, torch.zeros(8, 32), None).dequantize(), torch.zeros(8, 32)
    )


def test_only_bfloat16_weights_meet_rounded_rows(kernels: Kernels) -> None:
    weight = torch.randn(8, 32)
    linear = cpu_dense(kernels, weight, None, rounds_rows=True)
    assert linear.kernel == "native fp32"
    assert torch.equal(linear(weight), cpu_dense(kernels, weight, None)(weight))


def test_a_library_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path))
    source = tmp_path / "small.cpp"
    source.write_text('extern "C" int one() { return 1; }')
    monkeypatch.setattr("core.backends.cpu.build.SOURCE", source)
    monkeypatch.delenv("CXX", raising=False)
    stages: list[str] = []
    first = built_library(lambda stage, done, total: stages.append(stage))
    assert built_library(lambda stage, done, total: stages.append(stage)) == first
    assert stages == ["compiling the kernels"]
    # A container for use has no compiler, and what the one that made it compiled.
    monkeypatch.setattr("core.backends.cpu.build._COMPILERS", ("no-such-compiler",))
    assert built_library(no_progress) == first
    first.write_bytes(b"half a library")
    with pytest.raises(KernelsUnavailableError, match=r"no C\+\+ compiler was found"):
        built_library(no_progress)


def test_no_compiler_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(KernelsUnavailableError, match=r"no C\+\+ compiler .* give --no-compile\.$"):
        built_library(no_progress)


def test_source_that_does_not_compile_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path))
    source = tmp_path / "broken.cpp"
    source.write_text("#error no such thing")
    monkeypatch.setattr("core.backends.cpu.build.SOURCE", source)
    with pytest.raises(KernelsUnavailableError, match=r"could not compile .*no such thing"):
        built_library(no_progress)
    assert not list((tmp_path / "kernels").iterdir())
