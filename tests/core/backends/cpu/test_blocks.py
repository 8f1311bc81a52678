"""The types of GGUF files as the compiled kernels hold them, against gguf's own dequantizer."""

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

from core.backends.cpu.library import Kernels
from core.backends.cpu.linear import (
    Blocks,
    CpuLinear,
    Format,
    block_segment,
    can_read_blocks,
    dense_segment,
)
from tests.core.backends.cpu.test_rounded import rounded

# Where the halves of a block stand.
HALVES = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q2_K": (80, 82),
    "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
}  # fmt: skip
WIDTH = 512


def random_blocks(type_name: str, num_outputs: int) -> Blocks:
    """Any bytes, but for scales that are numbers."""
    block, num_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[type_name]]
    random = np.random.default_rng(len(type_name) + num_outputs)
    data = random.integers(0, 256, (num_outputs, WIDTH // block, num_bytes), dtype=np.uint8)
    for at in HALVES[type_name]:
        halves = (random.normal(size=data.shape[:2]) * 0.1).astype(np.float16)
        data[:, :, at : at + 2] = halves.view(np.uint8).reshape(*data.shape[:2], 2)
    return Blocks(Format[type_name], data.reshape(num_outputs, -1), WIDTH)


def meant(blocks: Blocks) -> torch.Tensor:
    kind = GGMLQuantizationType[blocks.format.name]
    return torch.from_numpy(dequantize(blocks.data, kind))


@pytest.mark.parametrize("type_name", HALVES)
def test_weights_count_exactly_as_the_file_means_them(
    kernels_of_each_level: Kernels, type_name: str
) -> None:
    blocks = random_blocks(type_name, 40)
    segment = block_segment(kernels_of_each_level, blocks)
    linear = CpuLinear(kernels_of_each_level, WIDTH, [segment], None)
    assert torch.equal(linear.dequantize(), meant(blocks))
    assert torch.equal(linear.rows(torch.tensor([39, 0, 17])), meant(blocks)[[39, 0, 17]])


@pytest.mark.parametrize("type_name", HALVES)
def test_products_are_those_of_rounded_rows_and_the_same_alone(
    kernels_of_each_level: Kernels, type_name: str
) -> None:
    torch.manual_seed(0)
    blocks = random_blocks(type_name, 40)
    segment = block_segment(kernels_of_each_level, blocks)
    linear = CpuLinear(kernels_of_each_level, WIDTH, [segment], torch.randn(40))
    x = torch.randint(-126, 127, (19, WIDTH)) + 0.8 * torch.rand(19, WIDTH) - 0.4
    x[:, ::32] = 127.0
    product = linear(x)
    weight = meant(blocks).double()
    assert linear.bias is not None
    expected = rounded(x) @ weight.T + linear.bias.double()
    scale = x.double().norm(dim=1, keepdim=True) * weight.norm(dim=1)
    assert float(((product - expected).abs() / scale).max()) < 1e-6
    for row in range(len(x)):
        assert torch.equal(linear(x[row : row + 1])[0], product[row])


def test_segments_of_any_size_stand_side_by_side(kernels_of_each_level: Kernels) -> None:
    torch.manual_seed(0)
    parts = [random_blocks("Q4_K", 21), random_blocks("Q6_K", 3)]
    half = torch.randn(30, WIDTH).half()
    kernels = kernels_of_each_level
    segments = [*(block_segment(kernels, part) for part in parts), dense_segment(kernels, half)]
    linear = CpuLinear(kernels, WIDTH, segments, None)
    weight = torch.cat([*(meant(part) for part in parts), half.float()])
    assert torch.equal(linear.dequantize(), weight)
    x = torch.randn(5, WIDTH)
    alone = [CpuLinear(kernels, WIDTH, [segment], None)(x) for segment in segments]
    assert torch.equal(linear(x), torch.cat(alone, dim=1))


def test_other_types_and_widths_are_left_to_the_dequantizer() -> None:
    assert can_read_blocks("Q6_K", 512)
    assert not can_read_blocks("Q6_K", 288)
    assert not can_read_blocks("IQ4_XS", 512)
    assert not can_read_blocks("F16", 512)
