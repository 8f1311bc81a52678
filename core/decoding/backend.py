"""The seam between the loop and a target model."""

from collections.abc import Callable
from typing import Protocol

import torch

from core.trees.tree import DraftTree


class Backend(Protocol):
    """A target with a cache of committed tokens. One run at a time."""

    vocab_size: int
    context_limit: int
    """Most tokens, prompt and output together, that the model can attend to."""

    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        """Fills the cache with the prompt less its last token; returns how many were reused.

        `max_length` is the most tokens that prompt and output will have together. When the stop
        flag is raised in the middle, it returns early and no step may follow.
        """
        ...

    def tree_forward(self, tree: DraftTree) -> torch.Tensor:
        """Logits after every node of the tree, which stands behind the committed tokens.

        Returns float32, valid until the next call  # [num_nodes, vocab]
        """
        ...

    def commit(self, path: list[int]) -> None:
        """Keeps the root and the nodes of `path` in the cache and forgets the rest of the tree."""
        ...

    def finish(self) -> None:
        """Ends the run; the cache may be kept for a next prompt with the same beginning."""
        ...
