"""Our own kernels for few rows: right, the same in every bit whatever rows stand beside, captured."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from core.backends.cuda.few_rows import few_before
from core.backends.cuda.kernels.kernel import (
    GATE_ENDINGS,
    Addend,
    Following,
    Heads,
    Norm,
    Residual,
    multiply_rows,
)
from core.backends.cuda.kernels.linear import PackedLinear, weight_of
from core.backends.cuda.kernels.packing import packed
from core.backends.cuda.kernels.variant import Weight
from core.backends.cuda.pieces import Pieces
from core.backends.cuda.places import Places
from core.backends.torch.activations import inner_of
from core.backends.torch.arithmetic import bounded_logits
from core.backends.torch.linear import DenseLinear, WeightGrid
from core.backends.torch.weights import LayerWeights
from core.families.architecture import Architecture

pytestmark = pytest.mark.gpu

FORMATS = [(2, 32), (2, 128), (3, 64), (4, 32), (4, 64), (4, 128), (8, 32), (8, 128)]
DTYPES = [torch.bfloat16, torch.float16, torch.float32]
# One rounding of the result, and in float32 that whole numbers are counted from 128.
BOUNDS = {torch.bfloat16: 3e-3, torch.float16: 4e-4, torch.float32: 1.5e-4}
# Outputs and inputs: some tiles with a last one of one octet, more tiles than processors, half a chunk.
SIZES = [(56, 256), (4112, 1024), (320, 2112 - 64)]


def grid_of(bits: int, group_size: int, outputs: int, inputs: int) -> WeightGrid:
    values = torch.randint(0, 2**bits, (outputs, inputs), dtype=torch.uint8, device="cuda")
    scales = torch.rand(outputs, inputs // group_size, device="cuda") / 16 + 1 / 32
    scales = scales.half().float()
    offsets = -scales * (2**bits - 1) / 2 + torch.randn_like(scales) / 16
    return WeightGrid(values, scales, offsets.half().float(), bits)


def packed_weight(
    bits: int, group_size: int, outputs: int, inputs: int
) -> tuple[Weight, torch.Tensor]:
    """With its exact numbers in float64."""
    grid = grid_of(bits, group_size, outputs, inputs)
    weight = Weight(packed(grid), bits, group_size, inputs, outputs)
    torch.cuda.synchronize()
    return weight, grid.dequantize().double()


def dense_weight(outputs: int, inputs: int, dtype: torch.dtype) -> tuple[Weight, torch.Tensor]:
    data = torch.randn(outputs, inputs, device="cuda").to(dtype)
    weight = weight_of(DenseLinear(data))
    assert weight is not None
    return weight, data.double()


def rows_of(count: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(count, width, device="cuda").to(dtype)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
@pytest.mark.parametrize(("bits", "group_size"), FORMATS)
def test_packed_weights_multiply_rows(bits, group_size, outputs, inputs, dtype) -> None:
    if inputs % group_size:
        pytest.skip("a group divides the inputs")
    weight, exact = packed_weight(bits, group_size, outputs, inputs)
    x = rows_of(11, inputs, dtype)
    found = multiply_rows(x, weight)
    assert error(found, x.double() @ exact.T) < BOUNDS[dtype]
    for count in (1, 2, 3, 5, 8):
        alone = multiply_rows(x[:count], weight)
        assert torch.equal(alone, found[:count]), "a row does not depend on the rows beside it"
    assert torch.equal(multiply_rows(x, weight), found), "the same each time"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("outputs", "inputs"), [(64, 256), (4112, 1032), (320, 4096)])
def test_dense_weights_multiply_rows(outputs, inputs, dtype) -> None:
    weight, exact = dense_weight(outputs, inputs, dtype)
    x = rows_of(8, inputs, dtype)
    found = multiply_rows(x, weight)
    assert error(found, x.double() @ exact.T) < BOUNDS[dtype]
    for count in (1, 2, 3, 5):
        assert torch.equal(multiply_rows(x[:count], weight), found[:count])


def gated_by(gate: str, gates: torch.Tensor) -> torch.Tensor:
    return inner_of(gate, is_gated=True)(gates)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("bits", [3, 4, 16])
@pytest.mark.parametrize("is_float", [False, True], ids=["own norm", "float norm"])
def test_what_lies_beside_a_product_is_done_on_its_way(is_float, bits, count, dtype) -> None:
    if bits == 16 and dtype == torch.float32:
        pytest.skip("dense weights are of half precision")
    outputs, inputs, head_dim, kv_heads, capacity = 768, 1024, 64, 3, 40
    weight, exact = (
        dense_weight(outputs, inputs, dtype)
        if bits == 16
        else packed_weight(bits, 64, outputs, inputs)
    )
    bias, factors = rows_of(1, outputs, dtype)[0], torch.rand(inputs, device="cuda")
    factors = factors if is_float else factors.to(dtype)
    weight = weight._replace(bias=bias)
    x, residual = 3 * rows_of(count, inputs, dtype), rows_of(count, outputs, dtype)
    norm = Norm(factors, 1e-5)
    normed = F.rms_norm(x.double(), (inputs,), factors.double(), 1e-5)
    product = normed @ exact.T + bias.double()
    bound = 2 * BOUNDS[dtype]
    following = Following(weight, is_gated=True)
    for scale in (1.0, 0.3):
        found = multiply_rows(
            x, weight, norm=norm, residual=Residual(residual, scale), following=following
        )
        assert error(found, product * scale + residual.double()) < bound
    for gate in GATE_ENDINGS:
        gated = multiply_rows(x, weight, norm=norm, gate=gate)
        assert error(gated, gated_by(gate, product)) < bound, gate

    addend = Addend(rows_of(count, inputs, dtype), norm, 0.7, torch.full_like(x, torch.nan))
    own = F.rms_norm(addend.rows.double(), (inputs,), factors.double(), 1e-5)
    total = x.double() + 0.7 * own
    found = multiply_rows(x, weight, norm=norm, addend=addend)
    assert error(addend.totals, total) < bound
    normed = F.rms_norm(total, (inputs,), factors.double(), 1e-5)
    assert error(found, normed @ exact.T + bias.double()) < bound
    found = multiply_rows(x, weight, addend=addend)
    assert error(found, total @ exact.T + bias.double()) < bound

    num_heads = outputs // head_dim - 2 * kv_heads
    cos, sin = (torch.randn(count, 1, head_dim, device="cuda").to(dtype) for _ in range(2))
    slots = torch.randperm(capacity, device="cuda")[:count]
    cache = torch.zeros(2, kv_heads, capacity, head_dim, dtype=dtype, device="cuda")
    heads = Heads(Places(cos, sin, slots, cache, slots), num_heads)
    queries = multiply_rows(x, weight, norm=norm, heads=heads).view(count, num_heads, head_dim)
    split = product.view(count, -1, head_dim)
    rotated = split * cos.double() + split.roll(head_dim // 2, dims=-1) * sin.double()
    assert error(queries, rotated[:, :num_heads]) < bound
    keys, values = cache[:, :, slots].transpose(1, 2)
    assert error(keys, rotated[:, num_heads : num_heads + kv_heads]) < bound
    assert error(values, split[:, num_heads + kv_heads :]) < bound
    others = torch.ones(capacity, dtype=torch.bool, device="cuda")
    others[slots] = False
    assert not cache[:, :, others].any()


def test_a_layer_is_captured_and_compiled() -> None:
    grid = grid_of(4, 64, 512, 256)
    layer = PackedLinear(grid, None, torch.bfloat16)
    assert layer.kernel == "cuda int4" and layer.num_bytes == layer.weight.data.nbytes
    x = rows_of(5, 256, torch.bfloat16)
    expected = layer(x)
    assert error(expected, x.double() @ grid.dequantize().double().T) < BOUNDS[torch.bfloat16]
    compiled = torch.compile(lambda x: layer.product(x, *layer.tensors) + 1, fullgraph=True)
    assert torch.equal(compiled(x), expected + 1)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = layer(layer(x)[:, :256])
    x.copy_(rows_of(5, 256, torch.bfloat16))
    for _ in range(3):
        graph.replay()
        assert torch.equal(captured, layer(layer(x)[:, :256]))


@pytest.mark.parametrize("bits", [4, 16])
@pytest.mark.parametrize("has_all", [False, True], ids=["as Llama", "as Gemma"])
def test_parts_of_layers_compute_what_their_weights_say(bits, has_all) -> None:
    """With all, heads and what a part makes are normed, by weights in float32, and gates are others."""
    dtype, hidden, inner = torch.bfloat16, 256, 384
    shape = Architecture(2, 4, 2, 64, 320, 1e-5)
    if has_all:
        shape = replace(shape, activation="gelu_tanh", residual_scale=0.7, logit_cap=5.0)
    exact = []

    def linear(outputs: int, inputs: int):
        if bits == 16:
            data = (torch.randn(outputs, inputs, device="cuda") / 16).to(dtype)
            exact.append(data.double())
            return DenseLinear(data)
        grid = grid_of(bits, 64, outputs, inputs)
        exact.append(grid.dequantize().double())
        return PackedLinear(grid, None, dtype)

    def layer(index: int) -> LayerWeights:
        def norm(width: int) -> torch.Tensor:
            return (torch.rand(width, device="cuda") + 0.5).to(torch.float32 if has_all else dtype)

        heads = norm(64) if has_all else None
        return LayerWeights(
            index, norm(hidden), linear(512, hidden), heads, heads, linear(hidden, hidden),
            norm(hidden), linear(2 * inner, hidden), linear(hidden, inner),
            norm(hidden) if has_all else None, norm(hidden) if has_all else None,
        )  # fmt: skip

    first, second = layer(0), layer(1)
    x, attended = rows_of(3, hidden, dtype), rows_of(3, hidden, dtype)
    cos, sin = (torch.randn(3, 1, 64, device="cuda").to(dtype) for _ in range(2))
    slots = torch.tensor([4, 7, 1], device="cuda")

    def rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight.double(), shape.norm_eps)

    def expected_queries(layer: LayerWeights, qkv: torch.Tensor, x: torch.Tensor):
        heads = (rms(x, layer.input_norm) @ qkv.T).view(3, -1, 64)
        queries, keys, values = heads[:, :4], heads[:, 4:6], heads[:, 6:]
        if has_all:
            queries, keys = rms(queries, layer.q_norm), rms(keys, layer.k_norm)
        turned = [h * cos.double() + h.roll(32, dims=-1) * sin.double() for h in (queries, keys)]
        return turned[0], torch.stack([turned[1], values])

    def with_part(x: torch.Tensor, part: torch.Tensor, out_norm: torch.Tensor | None):
        return x + (part if out_norm is None else rms(part, out_norm)) * shape.residual_scale

    bound = 1.5e-2
    cache = torch.zeros(2, 2, 9, 64, dtype=dtype, device="cuda")
    part = few_before(shape, first, None, print)
    assert part is not None and part.most == 8, "few rows are for our own kernels"
    pieces, places = Pieces(compile=False), Places(cos, sin, slots, cache, slots)
    queries = pieces.before(shape, first, None)(x, None, *places)
    wanted, kept = expected_queries(first, exact[0], x.double())
    assert error(queries, wanted) < bound
    assert error(cache[:, :, slots].transpose(1, 2), kept) < bound

    residual = with_part(x.double(), attended.double() @ exact[1].T, first.attention_out_norm)
    gated = gated_by(shape.activation, rms(residual, first.ffn_norm) @ exact[2].T)
    behind = with_part(residual, gated @ exact[3].T, first.ffn_out_norm)
    assert error(pieces.after(shape, first)(x, attended), behind) < bound
    found, queries = pieces.between(shape, first, second)(x, attended, *places)
    assert error(found, behind) < bound
    assert error(queries, expected_queries(second, exact[4], behind)[0]) < 3 * bound
    logits = pieces.lm_head(shape, first.input_norm, first.qkv)(x)
    assert logits.dtype == torch.float32
    expected = bounded_logits(shape, rms(x.double(), first.input_norm) @ exact[0].T)
    assert error(logits, expected) < bound
