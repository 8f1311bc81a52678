"""The forwards of one draft: levels of tree rows written behind a cache's committed tokens."""

import torch

from core.drafters.tree_growth import LevelRow
from core.verifier import TargetForward, Verifier


class DraftPass:
    """Computes the levels of one tree. The first level is the root alone."""

    def __init__(self, verifier: Verifier, forward: TargetForward | None = None):
        """`forward` replaces the verifier's own, over the same cache."""
        self.paths: list[tuple[int, ...]] = []
        """Token ids from the root's child down to each row computed so far."""
        self._verifier = verifier
        self._forward = forward
        self._root_position = verifier.cache.length
        self._ancestors: list[list[int]] = []  # for each row, itself and the rows above it
        verifier.cache.write_start = verifier.cache.length

    def __call__(self, rows: list[LevelRow]) -> torch.Tensor:
        """Logits after the rows of a level  # [rows, vocab] float32."""
        cache = self._verifier.cache
        first = len(self._ancestors)
        allowed = torch.zeros(len(rows), first + len(rows), dtype=torch.bool)
        for index, row in enumerate(rows):
            above = self._ancestors[row.parent_row] if row.parent_row >= 0 else []
            self._ancestors.append([*above, first + index])
            path = self.paths[row.parent_row] if row.parent_row >= 0 else ()
            self.paths.append((*path, row.token_id) if row.parent_row >= 0 else ())
            allowed[index, self._ancestors[-1]] = True
        logits = self._verifier.forward_rows(
            [row.token_id for row in rows],
            [self._root_position + row.depth for row in rows],
            allowed,
            forward=self._forward,
        )
        assert logits is not None
        cache.write_start += len(rows)
        return self._verifier.in_float32(logits)
