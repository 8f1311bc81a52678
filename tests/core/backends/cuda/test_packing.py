"""Packed weights hold what a lane of the kernel reads, and variants fit into a device's memory."""

import numpy as np
import pytest
import torch

from core.backends.cuda.kernels.packing import packed
from core.backends.cuda.kernels.variant import Device, Weight, most_rows, variant_for
from core.backends.torch.linear import WeightGrid

H100 = Device(architecture=90, num_processors=132, shared_bytes=232448)


def pair(words: np.ndarray, bits: int, block: int, index: int) -> int:
    """Two whole numbers in the halves of a word, as weights.cuh takes them from a lane's words."""

    def word(place: int) -> int:
        return int(words[place])

    if bits == 2:
        return word(block // 2) >> (8 * (block % 2) + 2 * index) & 0x30003
    if bits == 4:
        return word(block) >> (4 * index) & 0xF000F
    if bits == 8:
        low, high = word(2 * block), word(2 * block + 1)
        return (low >> (4 * index) & 0xF000F) + 16 * (high >> (4 * index) & 0xF000F)
    number = 4 * block + index
    if number < 15:
        return word(number // 5) >> (3 * (number % 5)) & 0x70007
    return word(0) >> 15 & 0x10001 | word(1) >> 14 & 0x20002 | word(2) >> 13 & 0x40004


def lane_words(octet: np.ndarray, bits: int, lane: int) -> np.ndarray:
    """The words that a lane reads: one after the other, or in fours or ones of all lanes."""
    words = octet[: 128 * bits].view(np.uint32)
    if bits == 3:
        return words.reshape(3, 32)[:, lane]
    if bits == 8:
        return words.reshape(2, 32, 4)[:, lane].reshape(-1)
    return words.reshape(32, bits)[lane]


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 128), (20, 384)])
def test_every_weight_is_where_the_kernel_looks_for_it(bits, group_size, outputs, inputs) -> None:
    torch.manual_seed(0)
    values = torch.randint(0, 2**bits, (outputs, inputs), dtype=torch.uint8)
    groups = inputs // group_size
    scales = torch.rand(outputs, groups).half().float()
    offsets = torch.randn(outputs, groups).half().float()
    octets = packed(WeightGrid(values, scales, offsets, bits)).numpy()
    assert octets.shape[0] % 2 == 0, "tiles are pairs of octets"
    found = np.full((octets.shape[0] * 8, inputs), -1)
    for octet, chunk, lane in np.ndindex(octets.shape[0], octets.shape[1], 32):
        words = lane_words(octets[octet, chunk], bits, lane)
        output, quarter = divmod(lane, 4)
        for block, index, half in np.ndindex(4, 4, 2):
            place = 128 * chunk + 32 * block + 8 * quarter + 2 * index + half
            number = pair(words, bits, block, index) >> (16 * half) & 0xFFFF
            found[8 * octet + output, place] = number
    assert (found[:outputs] == values.numpy()).all()
    assert (found[outputs:] == 0).all()
    halves = octets[..., 128 * bits :].copy().view(np.float16)
    halves = halves.reshape(octets.shape[0], octets.shape[1], 8, 128 // group_size, 2)
    halves = halves.swapaxes(1, 2).reshape(-1, groups, 2)[:outputs]
    assert (halves[..., 0] == scales.numpy()).all() and (halves[..., 1] == offsets.numpy()).all()


def test_what_is_missing_of_a_chunk_is_zero() -> None:
    grid = WeightGrid(torch.full((16, 192), 15, dtype=torch.uint8), torch.ones(16, 3),
                      torch.ones(16, 3), 4)  # fmt: skip
    octets = packed(grid)
    assert octets.shape == (2, 2, 512 + 64)
    values, scales = octets[..., :512], octets[..., 512:].contiguous().view(torch.float16)
    # Half of the second chunk's numbers, and one of its two groups.
    assert values[:, 1].ne(0).float().mean() == 0.5 and values[:, 0].eq(255).all()
    assert scales[:, 1].view(2, 8, 2, 2)[:, :, 1].eq(0).all()


def weight(bits: int, outputs: int, inputs: int) -> Weight:
    return Weight(torch.empty(0), bits, 32, inputs, outputs)


@pytest.mark.parametrize(
    ("bits", "inputs", "dtype", "rows"),
    [
        (4, 4096, torch.bfloat16, 8),
        (4, 11008, torch.bfloat16, 4),
        (4, 11008, torch.float32, 2),
        (8, 4096, torch.float32, 4),
        (16, 4096, torch.bfloat16, 8),
        (16, 11008, torch.bfloat16, 4),
        (4, 40960, torch.float32, 0),
    ],
)
def test_so_many_rows_have_room_at_once(bits, inputs, dtype, rows) -> None:
    assert most_rows(weight(bits, 4096, inputs), H100, dtype) == rows


def test_the_order_of_sums_is_that_of_the_format_whatever_has_room() -> None:
    for bits, warps in ((4, 16), (16, 8)):
        for inputs in (1536, 4096, 11008):
            for rows in range(1, most_rows(weight(bits, 4096, inputs), H100, torch.bfloat16) + 1):
                variant = variant_for(weight(bits, 4096, inputs), H100, torch.bfloat16, rows)
                assert variant is not None and variant.warps == warps and variant.rows >= rows
                assert variant.shared_bytes(inputs) <= H100.shared_bytes
