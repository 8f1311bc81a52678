"""Attention of several sequences, each in a region of one cache: that of each alone."""

import pytest
import torch

from core.backends.cuda.attention import MaskedAttention, Rows
from core.backends.torch.linear import DenseLinear
from core.backends.torch.weights import LayerWeights
from core.families.architecture import Architecture, LayerKind

NOTHING = DenseLinear(torch.empty(0, 0))
HEADS, KV_HEADS, DIM, ROWS, WIDTH, REGION = 4, 2, 16, 5, 7, 96


@pytest.mark.parametrize("kind", [LayerKind(), LayerKind(window=9), LayerKind(chunk=9)])
def test_several_sequences_are_attended_as_each_alone(kind: LayerKind) -> None:
    generator = torch.Generator().manual_seed(0)
    start, origin = torch.tensor([40, 0, 11]), torch.tensor([2, 0, 3]) * REGION
    count = len(start)
    storage = torch.randn(2, KV_HEADS, 4 * REGION, DIM, generator=generator)
    queries = torch.randn(count * ROWS, HEADS, DIM, generator=generator)
    places = torch.arange(ROWS)
    tree_positions = start[:, None] + torch.arange(WIDTH) // 2
    positions = tree_positions[:, places].flatten()
    tree = torch.rand(count * ROWS, WIDTH, generator=generator) < 0.5
    tree[torch.arange(count * ROWS), places.repeat(count)] = True
    ids = torch.zeros_like(positions)
    shape = Architecture(1, HEADS, KV_HEADS, DIM, 8, 1e-5, attention_scale=0.3)
    layer = LayerWeights(0, None, NOTHING, None, None, NOTHING, None, None, None, kind=kind)
    attention = MaskedAttention(shape)
    together = Rows(ids, positions, ids, start, tree, tree_positions.flatten(), origin)
    found = attention(layer, queries, storage, together, attention.prepare(together, 4 * REGION))
    for sequence in range(count):
        rows = slice(sequence * ROWS, (sequence + 1) * ROWS)
        first = int(origin[sequence])
        alone = Rows(
            ids[rows], positions[rows], ids[rows], start[sequence : sequence + 1], tree[rows],
            tree_positions[sequence],
        )  # fmt: skip
        own = storage[:, :, first : first + REGION]
        expected = attention(layer, queries[rows], own, alone, attention.prepare(alone, REGION))
        torch.testing.assert_close(found[rows], expected)
