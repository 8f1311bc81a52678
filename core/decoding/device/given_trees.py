"""Trees that the host made, on their way to the device: one copy, unpacked there."""

from collections.abc import Sequence

import numpy as np
import torch

from core.backends.cuda.host_buffers import host_buffer
from core.trees.tensors import TreeRows
from core.trees.tree import DraftTree

_TOKEN_IDS, _PARENTS, _DEPTHS, _PROBS, _COUNT, _NUM_KINDS = range(6)


class GivenTrees:
    """Room for one kind of step. The next trees may be given once the step of the last ones was read."""

    def __init__(self, sequences: int, rows: int, device: torch.device):
        shape = (_NUM_KINDS, sequences, rows)
        self._host = host_buffer(shape, torch.int32, device)
        self._on_device = torch.zeros(shape, dtype=torch.int32, device=device)

    def give(self, trees: Sequence[DraftTree]) -> None:
        """Starts the copy; sequences behind the trees have none, and their roots stand for nothing."""
        numbers = self._host.numpy()
        numbers[:] = 0
        numbers[_COUNT] = 1
        for sequence, tree in enumerate(trees):
            count, given = len(tree), numbers[:, sequence]
            given[_TOKEN_IDS, :count] = tree.token_ids
            given[_PARENTS, :count] = [0, *tree.parents[1:]]
            given[_DEPTHS, :count] = tree.depths
            given[_PROBS].view(np.float32)[:count] = tree.draft_probs
            given[_COUNT] = count
        self._on_device.copy_(self._host, non_blocking=True)

    def unpack(self, rows: TreeRows) -> None:
        """Writes the trees into the rows of a forward; what is behind each stands for nothing."""
        given = self._on_device
        for target, kind in (
            (rows.token_ids, _TOKEN_IDS),
            (rows.parents, _PARENTS),
            (rows.depths, _DEPTHS),
        ):
            target.copy_(given[kind])
        rows.probs.copy_(given[_PROBS].view(torch.float32))
        rows.num_nodes.copy_(given[_COUNT, :, 0])
