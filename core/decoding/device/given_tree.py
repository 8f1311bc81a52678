"""A tree that the host made, on its way to the device: one copy, unpacked there."""

import numpy as np
import torch

from core.backends.cuda.host_buffers import host_buffer
from core.trees.tensors import TreeRows
from core.trees.tree import DraftTree

_TOKEN_IDS, _PARENTS, _DEPTHS, _PROBS, _COUNT, _NUM_KINDS = range(6)


class GivenTree:
    """Room for one kind of step. The next tree may be given once the step of the last one was read."""

    def __init__(self, rows: int, device: torch.device):
        shape = (_NUM_KINDS, rows)
        self._host = host_buffer(shape, torch.int32, device)
        self._on_device = torch.zeros(shape, dtype=torch.int32, device=device)

    def give(self, tree: DraftTree) -> None:
        """Starts the copy."""
        count, numbers = len(tree), self._host.numpy()
        numbers[:, count:] = 0
        numbers[_TOKEN_IDS, :count] = tree.token_ids
        numbers[_PARENTS, :count] = [0, *tree.parents[1:]]
        numbers[_DEPTHS, :count] = tree.depths
        numbers[_PROBS].view(np.float32)[:count] = tree.draft_probs
        numbers[_COUNT, 0] = count
        self._on_device.copy_(self._host, non_blocking=True)

    def unpack(self, rows: TreeRows) -> None:
        """Writes the tree into the rows of a forward; what is behind it stands for nothing."""
        given = self._on_device
        for target, kind in (
            (rows.token_ids, _TOKEN_IDS),
            (rows.parents, _PARENTS),
            (rows.depths, _DEPTHS),
        ):
            target.copy_(given[kind])
        rows.probs.copy_(given[_PROBS].view(torch.float32))
        rows.num_nodes.copy_(given[_COUNT, :1])
