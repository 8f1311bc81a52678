"""Whole numbers packed as `rows.cu` reads them.

Eight outputs (an octet) and 128 inputs (a chunk) lie together: the numbers, then each output's scales
and offsets in half precision, group by group. Lane 4 * g + t of a warp reads its own words: output g
of the octet, and of every 32 inputs (a block) the eight from 8 * t on, as pairs of neighbours, the
first of each pair in the lower half of a word.
"""

import torch

from core.backends.torch.linear import WeightGrid

CHUNK = 128
OCTET = 8
# Of a weight that is packed at once.
_MOST_NUMBERS = 1 << 24


def packed(grid: WeightGrid) -> torch.Tensor:
    """Returns uint8  # [octets, chunks, bytes]; what is missing of the last ones stands for zero."""
    out_features, in_features = grid.values.shape
    tile = 2 * OCTET
    step = max(tile, _MOST_NUMBERS // in_features // tile * tile)
    parts = [
        _packed_part(
            grid._replace(
                values=grid.values[first : first + step],
                scales=grid.scales[first : first + step],
                offsets=grid.offsets[first : first + step],
            )
        )
        for first in range(0, out_features, step)
    ]
    return torch.cat(parts)


def _packed_part(grid: WeightGrid) -> torch.Tensor:
    groups = CHUNK // grid.group_size
    values = _padded(grid.values, CHUNK)
    scales = torch.stack(
        [_padded(grid.scales, groups), _padded(grid.offsets, groups)], dim=-1
    ).half()  # [outputs, groups, 2]
    octets, chunks = len(values) // OCTET, values.shape[1] // CHUNK
    # [octets, outputs, chunks, quarters, pairs of all blocks, 2]
    numbers = values.view(octets, OCTET, chunks, 4, 4, 4, 2).transpose(3, 4).flatten(4, 5).int()
    words = _PACKERS[grid.bits](numbers).reshape(octets, chunks, -1)
    scales = scales.view(octets, OCTET, chunks, groups, 2).transpose(1, 2)
    scales = scales.reshape(octets, chunks, -1)
    return torch.cat([words.view(torch.uint8), scales.view(torch.uint8)], dim=-1)


def _padded(tensor: torch.Tensor, columns: int) -> torch.Tensor:
    """Zeros behind it, up to whole pairs of octets and a multiple of `columns`."""
    rows, width = tensor.shape
    return torch.nn.functional.pad(tensor, (0, -width % columns, 0, -rows % (2 * OCTET)))


def _words(numbers: torch.Tensor, num_words: int, bits: int) -> torch.Tensor:
    """Pairs behind each other in the halves of words  # [..., pairs, 2] to [..., words]."""
    fields = numbers.reshape(*numbers.shape[:-2], num_words, -1, 2)
    shifts = torch.arange(fields.shape[-2], device=fields.device)[:, None] * bits
    shifts = shifts + torch.tensor([0, 16], device=fields.device)
    return (fields << shifts).sum(dim=(-2, -1), dtype=torch.int32)


def _pack_2(numbers: torch.Tensor) -> torch.Tensor:
    return _words(numbers, 2, 2).transpose(1, 2)


def _pack_3(numbers: torch.Tensor) -> torch.Tensor:
    """Five pairs a word; the sixteenth takes the bit that each of the three words has left."""
    words, last = _words(numbers[..., :15, :], 3, 3), numbers[..., 15, :]
    for index in range(3):
        bit = (last >> index) & 1
        words[..., index] += (bit[..., 0] << 15) + (bit[..., 1] << 31)
    return words.permute(0, 2, 4, 1, 3)  # [octets, chunks, 3, outputs, quarters]


def _pack_4(numbers: torch.Tensor) -> torch.Tensor:
    return _words(numbers, 4, 4).transpose(1, 2)


def _pack_8(numbers: torch.Tensor) -> torch.Tensor:
    """Two planes: a word of the lower four bits, and one of the upper four."""
    planes = torch.stack([_words(numbers & 15, 4, 4), _words(numbers >> 4, 4, 4)], dim=-1)
    halves = planes.view(*planes.shape[:4], 2, 2, 2)  # the last two: words of a half, planes
    return halves.permute(0, 2, 4, 1, 3, 5, 6)


_PACKERS = {2: _pack_2, 3: _pack_3, 4: _pack_4, 8: _pack_8}
