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

    def give(self, trees: Sequence[DraftTree | None]) -> None:
        """Starts the copy; a sequence may have no tree."""
        numbers = self._host.numpy()
        numbers[:] = 0
        for sequence, tree in enumerate(trees):
            if tree is None:
                continue
            count, given = len(tree), numbers[:, sequence]
            given[_TOKEN_IDS, :count] = tree.token_ids
            given[_PARENTS, :count] = [0, *tree.parents[1:]]
            given[_DEPTHS, :count] = tree.depths
            given[_PROBS].view(np.float32)[:count] = tree.draft_probs
            given[_COUNT] = count
        self._on_device.copy_(self._host, non_blocking=True)

    def unpack(self, rows: TreeRows, *, over_others: bool) -> None:
        """Writes the trees into the rows of a forward; what is behind each stands for nothing.

        With `over_others` a sequence without one keeps what stands there, else it has a root alone.
        """
        given = self._on_device
        count = given[_COUNT, :, 0]
        for target, kind in (
            (rows.token_ids, _TOKEN_IDS),
            (rows.parents, _PARENTS),
            (rows.depths, _DEPTHS),
            (rows.probs, _PROBS),
            (rows.num_nodes, _COUNT),
        ):
            new = count.clamp(min=1) if kind == _COUNT else given[kind]
            if kind == _PROBS:
                new = new.view(torch.float32)
            if over_others:
                is_given = count > 0
                new = torch.where(is_given if new.dim() == 1 else is_given[:, None], new, target)
            target.copy_(new)
