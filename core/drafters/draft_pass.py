"""The forwards of one draft: levels of tree rows written behind a cache's committed tokens."""

from collections.abc import Sequence

import torch

from core.backends.runner import PREFILL_CHUNK, ModelRunner, TargetForward
from core.drafters.tree_growth import LevelRow


class DraftPass:
    """Computes the levels of one tree; call it with the root first, then level by level."""

    def __init__(
        self,
        runner: ModelRunner,
        unseen_token_ids: list[int],
        forward: TargetForward | None = None,
        *,
        behind_root: Sequence[int] = (),
        sees_behind: bool = False,
    ):
        """`unseen_token_ids` are the committed tokens that the cache lacks, the root last: they
        are computed with the root, and so are the tokens `behind_root`, a chain of which every row has
        its logits; with `sees_behind` all of these rows see each other. `forward` replaces the
        runner's own, over the same cache."""
        self.paths: list[tuple[int, ...]] = []
        """Token ids from the root's child down to each row of the tree computed so far."""
        self._runner = runner
        self._forward = forward
        self._unseen = unseen_token_ids
        self.behind_root = behind_root
        self._sees_behind = sees_behind
        self._root_position = runner.cache.length + len(unseen_token_ids) - 1
        self._ancestors: list[list[int]] = []
        """For each row, the window's columns that it attends to: itself and what is above it."""
        runner.cache.write_start = runner.cache.length

    @property
    def num_before_root(self) -> int:
        """Rows that were computed in front of the root."""
        return len(self._unseen) - 1

    def __call__(self, rows: list[LevelRow]) -> torch.Tensor:
        """Logits after the rows of a level  # [rows, vocab] float32.

        Of the first one they are those of the root and of what is behind it.
        """
        if not self.paths:
            return self._root()
        first = self.num_before_root + len(self.paths)
        allowed = torch.zeros(len(rows), first + len(rows), dtype=torch.bool)
        for index, row in enumerate(rows):
            self._ancestors.append([*self._ancestors[row.parent_row], first + index])
            self.paths.append((*self.paths[row.parent_row], row.token_id))
            allowed[index, self._ancestors[-1]] = True
        positions = [self._root_position + row.depth for row in rows]
        return self._forward_rows([row.token_id for row in rows], positions, allowed)

    def _root(self) -> torch.Tensor:
        token_ids = [*self._unseen, *self.behind_root]
        count, first = len(token_ids), self._root_position - self.num_before_root
        self._ancestors.append(list(range(len(self._unseen))))
        self.paths.append(())
        seen = torch.ones(count, count, dtype=torch.bool)
        found = self._forward_rows(
            token_ids, range(first, first + count), seen if self._sees_behind else seen.tril()
        )
        return found[self.num_before_root :]

    def _forward_rows(
        self,
        token_ids: list[int],
        positions: list[int] | range,
        allowed: torch.Tensor,  # [rows, window] bool
    ) -> torch.Tensor:
        logits = self._runner.forward_rows(token_ids, positions, allowed, forward=self._forward)
        assert logits is not None
        self._runner.cache.write_start += len(token_ids)
        return self._runner.in_float32(logits)


def pass_behind(runner: ModelRunner, token_ids: list[int]) -> DraftPass:
    """The pass of a draft behind a text of the runner's own tokens, whose cache has its beginning: where
    it lacks many, all but the last pieces of them are computed now."""
    unseen = token_ids[runner.cache.length :]
    while len(unseen) > PREFILL_CHUNK // 2:
        runner.append(unseen[: PREFILL_CHUNK // 2])
        unseen = unseen[PREFILL_CHUNK // 2 :]
    return DraftPass(runner, unseen)
