"""The backend over a transformers model: prefill, tree forward and commit on one TreeCache."""

from collections.abc import Callable
from typing import Any

import torch

from core.config import MAX_TREE_NODES
from core.kv_cache import TreeCache
from core.tree import DraftTree, ancestor_mask

# Long prompts are computed in pieces, so that attention's memory stays bounded.
PREFILL_CHUNK = 1024


class TransformersBackend:
    """Implements `core.backend.Backend` for any causal model with rotary positions."""

    def __init__(self, module: Any, context_limit: int):
        self.module = module
        self.context_limit = context_limit
        config = module.config.get_text_config()
        self.vocab_size: int = config.vocab_size
        self._config = config
        self._dtype: torch.dtype = module.dtype
        self._device: torch.device = module.device
        self._committed: list[int] = []
        self._tree: DraftTree | None = None
        self._cache: TreeCache | None = None
        # Additive mask: rows are queries; columns of committed tokens are zero.
        self._mask = torch.empty(0)  # [1, 1, MAX_TREE_NODES + 1, capacity]
        # A fresh float copy of vocabulary-wide rows costs more than the copying itself.
        self._logits = torch.empty((0, 0))  # [rows, vocab] float32

    @property
    def cache(self) -> TreeCache:
        assert self._cache is not None, "begin() comes first"
        return self._cache

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def device(self) -> torch.device:
        return self._device

    @torch.inference_mode()
    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        """See `Backend.begin`. What an earlier prompt shares with this one is not computed again."""
        body = prompt_token_ids[:-1]
        self.reserve(max_length)
        reused = self._num_shared(body)
        self._keep_committed(body[:reused])
        for start in range(reused, len(body), PREFILL_CHUNK):
            if should_stop():
                break
            chunk = body[start : start + PREFILL_CHUNK]
            input_ids = torch.tensor([chunk], device=self._device)
            self.module.base_model(input_ids=input_ids, past_key_values=self.cache, use_cache=True)
            self._keep_committed(body[: start + len(chunk)])
        return reused

    def _keep_committed(self, token_ids: list[int]) -> None:
        self.cache.truncate(len(token_ids))
        self._committed = token_ids

    def reserve(self, max_length: int) -> None:
        """Makes room for `max_length` committed tokens and a tree; growing forgets the cache."""
        capacity = max_length + MAX_TREE_NODES + 1
        if self._cache is None or self._cache.capacity < capacity:
            config = self._config
            head_dim = getattr(config, "head_dim", None) or (
                config.hidden_size // config.num_attention_heads
            )
            kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
            self._committed = []
            self._cache = None  # the old storage goes before the new one comes
            self._cache = TreeCache(
                config.num_hidden_layers, kv_heads, head_dim, capacity, self._dtype, self._device
            )
            self._mask = torch.zeros(
                (1, 1, MAX_TREE_NODES + 1, capacity), dtype=self._dtype, device=self._device
            )

    def _num_shared(self, body: list[int]) -> int:
        """How many tokens at the beginning of `body` are committed already."""
        shared = 0
        for old, new in zip(self._committed, body, strict=False):
            if old != new:
                break
            shared += 1
        return shared

    @torch.inference_mode()
    def tree_forward(self, tree: DraftTree) -> torch.Tensor:
        """See `Backend.tree_forward`."""
        start = self.cache.length
        self._tree = tree
        logits = self.forward_rows(tree.token_ids, tree.depths, tree.parents, start)
        if logits.dtype == torch.float32:
            return logits
        if self._logits.shape[0] < len(tree):
            self._logits = torch.empty(
                (len(tree), self.vocab_size), dtype=torch.float32, device=self._device
            )
        return self._logits[: len(tree)].copy_(logits)

    @torch.inference_mode()
    def forward_rows(
        self, token_ids: list[int], depths: list[int], parents: list[int], write_start: int
    ) -> torch.Tensor:
        """One forward over tree rows written from `write_start` on  # [rows, vocab]."""
        cache = self.cache
        cache.write_start = write_start
        rows = len(token_ids)
        device = self._device
        positions = torch.tensor([depths], device=device) + cache.length
        mask = None
        if rows > 1:
            mask = self._mask[:, :, :rows, : write_start + rows]
            window = mask[0, 0, :, write_start:]
            allowed = ancestor_mask(parents).to(device)
            window.fill_(torch.finfo(self._dtype).min).masked_fill_(allowed, 0.0)
        output = self.module(
            input_ids=torch.tensor([token_ids], device=device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        if mask is not None:
            mask[0, 0, :, write_start:].zero_()
        return output.logits[0]  # type: ignore[no-any-return]

    @torch.inference_mode()
    def commit(self, path: list[int]) -> None:
        """See `Backend.commit`."""
        assert self._tree is not None, "tree_forward() comes first"
        self._committed.append(self._tree.root_token_id)
        self._committed.extend(self._tree.token_ids[node] for node in path)
        self.cache.keep_path(path)

    def forget(self) -> None:
        """Empties the cache, so that the next prompt is computed whole."""
        self._committed = []

    def synchronize(self) -> None:
        """Waits until the device has done all work given to it."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def finish(self) -> None:
        """See `Backend.finish`."""
        self._tree = None
