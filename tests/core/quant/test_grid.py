"""hqq grids and the kernels that compute them."""

import pytest
import torch

from core.loading.weight_loading import stack_of
from core.models.model_config import model_config_of
from core.quant.grid import Grid, quantize
from core.quant.linears import Int4Linear, Int8Linear, linear_of
from core.quant.stack import linear_names, quantized_stack
from core.quant.store import GridStore
from tests.tiny_models import tiny_model

WEIGHT = torch.randn(48, 128, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize(("bits", "largest_error"), [(2, 1.0), (3, 0.5), (4, 0.22), (8, 0.013)])
def test_a_grid_is_near_its_weight(bits: int, largest_error: float, group_size: int) -> None:
    grid = quantize(WEIGHT, bits, group_size)
    assert grid.values.shape == WEIGHT.shape
    assert int(grid.values.max()) < 2**bits
    weight_grid = grid.to_weight_grid(bits)
    assert weight_grid.group_size == group_size
    assert float((weight_grid.dequantize() - WEIGHT).abs().mean()) < largest_error / 2


def test_a_large_weight_is_quantized_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(11, 64)
    monkeypatch.setattr("core.quant.grid._MOST_NUMBERS", 64 * 4)
    found = quantize(weight, 4, 32)
    parts = [quantize(weight[first : first + 4], 4, 32) for first in (0, 4, 8)]
    for name in ("values", "scales", "zeros"):
        expected = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(getattr(found, name), expected)


def test_a_weight_on_a_grid_is_found_exactly() -> None:
    values = torch.randint(0, 16, (32, 64), dtype=torch.uint8)
    scales, zeros = torch.full((32, 2), 0.25), torch.full((32, 2), 8.0)
    weight = Grid(values, scales, zeros).to_weight_grid(4).dequantize()
    assert torch.equal(weight, (values.float() - 8.0) * 0.25)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_int4_kernel_computes_the_grid(bits: int, dtype: torch.dtype) -> None:
    grid = quantize(WEIGHT, bits, 32).to_weight_grid(bits)
    bias = torch.randn(48).to(dtype)
    linear = linear_of(grid, bias, dtype)
    assert isinstance(linear, Int8Linear if bits == 8 else Int4Linear)
    x = torch.randn(3, 128).to(dtype)
    product = linear(x)
    assert product.dtype == dtype
    expected = x.double() @ grid.dequantize().double().T + bias.double()
    error = (product.double() - expected).norm() / expected.norm()
    assert float(error) < 0.04, "the kernel's scales and rows are bf16"


@pytest.mark.parametrize("bits", [4, 8])
def test_what_does_not_fit_the_kernel_is_dequantized(bits: int) -> None:
    grid = quantize(WEIGHT[:40], bits, 32).to_weight_grid(bits)
    linear = linear_of(grid, None, torch.float32)
    assert linear.kernel == "dequantized"
    assert linear(torch.ones(1, 128)).shape == (1, 40)


def test_kept_layers_stay_the_very_same() -> None:
    module = tiny_model("llama")
    stack = stack_of(module, model_config_of(module).described)
    assert stack is not None
    drafting = quantized_stack(stack, bits=4, group_size=32, keep=("1", "head", "layers.*.down"))
    for name, old, new in zip(
        linear_names(stack), stack.linears(), drafting.linears(), strict=True
    ):
        is_kept = name.startswith("layers.1.") or name == "head" or name.endswith("down")
        assert (new is old) == is_kept, name
    assert drafting.embedding is stack.embedding


def test_the_head_may_have_bits_of_its_own() -> None:
    module = tiny_model("llama")
    stack = stack_of(module, model_config_of(module).described)
    assert stack is not None
    rows = torch.randn(3, stack.embedding.rows(torch.tensor([0])).shape[1])

    def error_of_head(bits: int, head_bits: int | None = None) -> float:
        drafting = quantized_stack(stack, bits=bits, group_size=32, head_bits=head_bits)
        exact = stack.head(rows)
        return float((drafting.head(rows) - exact).norm() / exact.norm())

    assert error_of_head(2, head_bits=8) < 0.02 < error_of_head(2)
    assert error_of_head(8, head_bits=2) == error_of_head(2)


def test_stored_grids_are_those_that_were_made(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = GridStore(tmp_path, "model", 4, 32)
    made = store.grid_of("head", WEIGHT)
    store.save()
    monkeypatch.setattr("core.quant.store.quantize", None)
    again = GridStore(tmp_path, "model", 4, 32).grid_of("head", WEIGHT)
    for old, new in zip(made, again, strict=True):
        assert torch.equal(old, new)


def test_a_broken_store_is_made_anew(tmp_path) -> None:
    store = GridStore(tmp_path, "model", 4, 32)
    store.grid_of("head", WEIGHT)
    store.save()
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"broken")
    assert GridStore(tmp_path, "model", 4, 32).grid_of("head", WEIGHT).values.shape == WEIGHT.shape
