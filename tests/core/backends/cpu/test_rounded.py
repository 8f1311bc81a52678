"""Products with packed weights: rows in 8 bits as written down, and each row for itself."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from core.backends.cpu.forward import CpuForward
from core.backends.cpu.library import Kernels
from core.backends.cpu.linear import CpuLinear, cpu_grid
from core.backends.runner import ModelRunner
from core.backends.torch.linear import WeightGrid
from core.loading.forward import make_runner
from core.quant.stack import quantized_stack
from core.trees.tree import DraftTree

PROMPT = [5, 17, 99, 3, 42, 42, 7]
FORMS = [(2, 32), (3, 64), (4, 32), (4, 128), (8, 32), (8, 64)]
never = bool  # called without arguments it is False


def module_of(num_layers: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=192, hidden_size=128, intermediate_size=256, num_hidden_layers=num_layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def packed(module: LlamaForCausalLM, kernels: Kernels, bits: int, group_size: int) -> ModelRunner:
    runner = make_runner(module, 256, kernels=kernels)
    assert isinstance(runner.forward, CpuForward)
    stack = quantized_stack(runner.forward.stack, bits=bits, group_size=group_size, kernels=kernels)
    return runner.sibling(runner.forward.with_stack(stack))


def chain(length: int) -> DraftTree:
    tree = DraftTree(PROMPT[-1])
    for node in range(length - 1):
        tree.add(node, 10 + node, 0.5)
    return tree


def logits_of(runner: ModelRunner, length: int) -> torch.Tensor:
    runner.begin(PROMPT, 100, never)
    return runner.tree_forward(chain(length)).clone()


def rounded(
    x: torch.Tensor,  # [rows, width]
) -> torch.Tensor:
    """Rows in 8 bits: 255 numbers times a scale of 32 columns, the largest being the 127th."""
    parts = x.double().view(x.shape[0], -1, 32)
    scales = parts.abs().amax(dim=-1, keepdim=True) / 127.0
    whole = torch.where(scales > 0, parts / scales, 0.0)
    return (whole.round() * scales).view_as(x)


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 9, 70])
@pytest.mark.parametrize(("bits", "group_size"), FORMS)
def test_a_product_is_that_of_rounded_rows_with_the_weights(
    kernels_of_each_level: Kernels, bits: int, group_size: int, num_rows: int
) -> None:
    torch.manual_seed(bits + group_size)
    values = torch.randint(0, 2**bits, (40, 256), dtype=torch.uint8)
    scales, offsets = torch.randn(2, 40, 256 // group_size)
    linear = cpu_grid(
        kernels_of_each_level, WeightGrid(values, scales, offsets, bits), torch.randn(40)
    )
    assert linear.kernel == f"native int{bits}, rows in 8 bits"
    sizes = torch.tensor([1e-4, 1.0, 300.0, 0.0])
    # Nothing near the middle between two bytes, where float32 decides.
    x = torch.randint(-126, 127, (num_rows, 256)) + 0.8 * torch.rand(num_rows, 256) - 0.4
    x[:, ::32] = 127.0
    x *= sizes[torch.arange(num_rows) % 4, None]
    weight = linear.dequantize().double()
    expected = rounded(x) @ weight.T + linear.bias.double()
    scale = (x.double().norm(dim=1, keepdim=True) * weight.norm(dim=1)).clamp(min=1e-6)
    assert float(((linear(x) - expected).abs() / scale).max()) < 1e-5


def test_long_prompts_are_computed_as_few_rows_are(kernels: Kernels) -> None:
    runner = packed(module_of(2), kernels, 4, 32)
    assert torch.equal(logits_of(runner, 90)[:30], logits_of(runner, 30))


@pytest.mark.parametrize(("bits", "group_size"), FORMS)
def test_rounding_moves_logits_little(kernels: Kernels, bits: int, group_size: int) -> None:
    module = module_of(3)
    runner = packed(module, kernels, bits, group_size)
    exact = logits_of(make_runner(dequantized(module, runner), 256), 9)
    few = logits_of(runner, 9)
    assert 0.002 < (exact - few).norm() / exact.norm() < 0.05


def dequantized(module: LlamaForCausalLM, runner: ModelRunner) -> LlamaForCausalLM:
    """A module with the weights that the packed layers stand for."""
    assert isinstance(runner.forward, CpuForward)
    twin = LlamaForCausalLM(module.config).eval().requires_grad_(False)
    twin.load_state_dict(module.state_dict())
    head: object = runner.forward.stack.head
    assert isinstance(head, CpuLinear)
    twin.lm_head.weight.copy_(head.dequantize())
    for layer, packed_layer in zip(twin.model.layers, runner.forward.stack.layers, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        parts = {
            "qkv": [attention.q_proj, attention.k_proj, attention.v_proj],
            "o": [attention.o_proj],
            "gate_up": [mlp.gate_proj, mlp.up_proj],
            "down": [mlp.down_proj],
        }
        for name, linears in parts.items():
            weight = getattr(packed_layer, name).dequantize()
            sizes = [linear.weight.shape[0] for linear in linears]
            for linear, part in zip(linears, weight.split(sizes), strict=True):
                linear.weight.copy_(part)
    return twin


@pytest.mark.parametrize(("bits", "group_size"), FORMS)
def test_a_row_s_bits_do_not_change_with_the_rows_beside_it(
    kernels_of_each_level: Kernels, bits: int, group_size: int
) -> None:
    runner = packed(module_of(3), kernels_of_each_level, bits, group_size)
    widest = logits_of(runner, 21)
    assert math.isfinite(float(widest.sum()))
    for length in (*range(1, 10), 11, 16):
        assert torch.equal(logits_of(runner, length), widest[:length])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("bits", "group_size"), FORMS)
def test_a_row_with_a_number_that_is_none_gives_none_and_leaves_the_others(
    kernels: Kernels, bits: int, group_size: int, value: float
) -> None:
    torch.manual_seed(0)
    values = torch.randint(0, 2**bits, (16, 256), dtype=torch.uint8)
    linear = cpu_grid(
        kernels, WeightGrid(values, *torch.randn(2, 16, 256 // group_size), bits), None
    )
    x = torch.randn(6, 256)
    expected = linear(x)
    for place in (0, 31, 32, 255):
        broken = x.clone()
        broken[2, place] = value
        product = linear(broken)
        assert bool(product[2].isnan().all())
        assert torch.equal(product[[0, 1, 3, 4, 5]], expected[[0, 1, 3, 4, 5]])


def test_rows_too_small_for_a_scale_are_zero(kernels: Kernels) -> None:
    linear = cpu_grid(
        kernels, WeightGrid(torch.ones(8, 32, dtype=torch.uint8), *torch.ones(2, 8, 1), 4), None
    )
    assert torch.equal(linear(torch.full((1, 32), 1e-40)), torch.zeros(1, 8))
