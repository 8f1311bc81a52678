"""The backend of the loop over a real model: prefill, tree forward and commit on one TreeCache."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, Self

import torch

from core.backends.kv_cache import HiddenStates, TreeCache
from core.backends.layer_cache import LayerCache
from core.backends.row_block import RowBlock, check_token_ids
from core.errors import InvalidSettingError
from core.modes.settings import MAX_TREE_NODES
from core.trees.tensors import ancestor_mask
from core.trees.tree import DraftTree

# Long prompts are computed in pieces, so that attention's memory stays bounded and a stop is heard.
PREFILL_CHUNK = 512
# Behind the committed tokens: a tree with its root, and what pads a commit.
SPARE_COLUMNS = MAX_TREE_NODES + 8
# The next turn of a chat should find room in the last one's cache, and captured graphs hold on to it.
_CAPACITY_STEPS = {"cuda": 2048, "cpu": 512}


class TargetForward(Protocol):
    """Computes rows of tokens over a cache. `core.loading.forward` chooses which class does it."""

    name: str
    can_branch: bool
    """Whether it computes draft trees; otherwise every block must be a chain."""

    @property
    def num_token_ids(self) -> int:
        """Rows of its embedding: it can be given token ids below."""
        ...

    @property
    def pack_key(self) -> Hashable:
        """Equal for forwards over the same weights: one of them can compute the blocks of all."""
        ...

    def reserve(self, num_positions: int) -> None:
        """Prepares for positions below `num_positions`."""
        ...

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """Logits of all rows, block after block, or None  # [rows, vocab].

        Keys and values go into each block's cache.
        """
        ...


class Compute(Protocol):
    """Has a forward compute a block: at once, or together with those of other sequences."""

    def __call__(
        self, forward: TargetForward, block: RowBlock, *, want_logits: bool
    ) -> torch.Tensor | None:
        """Logits of the block's rows or None  # [rows, vocab]."""
        ...


@torch.inference_mode()
def compute_at_once(
    forward: TargetForward, block: RowBlock, *, want_logits: bool
) -> torch.Tensor | None:
    """Implements `Compute` for one sequence alone."""
    return forward([block], want_logits=want_logits)


class CacheShape(Protocol):
    """The sizes that decide a cache."""

    @property
    def num_layers(self) -> int: ...
    @property
    def num_kv_heads(self) -> int:
        """0 where each layer brings its own sizes."""
        ...

    @property
    def head_dim(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...


class ModelRunner:
    """Implements `core.decoding.backend.Backend`; drafters that share its cache use `forward_rows`."""

    def __init__(
        self,
        forward: TargetForward,
        shape: CacheShape,
        context_limit: int,
        dtype: torch.dtype,
        device: torch.device,
        compute: Compute = compute_at_once,
    ):
        self.forward = forward
        self.shape = shape
        self.context_limit = context_limit
        self.vocab_size = shape.vocab_size
        self.dtype = dtype
        self.device = device
        self._compute = compute
        self._committed: list[int] = []
        self._state_layers: tuple[int, ...] = ()
        self._asked_layers: set[int] = set()
        self._hidden_size = 0
        self._tree: DraftTree | None = None
        self._cache: TreeCache | None = None
        # Additive mask; all zero but for the window that a forward fills and clears again.
        self._mask = torch.empty(0)  # [max(MAX_TREE_NODES + 1, PREFILL_CHUNK), capacity]
        # A fresh float copy of vocabulary-wide rows costs more than the copying itself.
        self._logits = torch.empty((0, 0))  # [rows, vocab] float32

    def sibling(
        self, forward: TargetForward | None = None, compute: Compute = compute_at_once
    ) -> Self:
        """Another runner with a cache of its own, of the same or another forward."""
        return type(self)(
            forward or self.forward,
            self.shape,
            self.context_limit,
            self.dtype,
            self.device,
            compute,
        )

    @property
    def can_branch(self) -> bool:
        """Whether drafts may be trees; otherwise they are chains."""
        return self.forward.can_branch

    @property
    def cache(self) -> TreeCache:
        assert self._cache is not None, "begin() comes first"
        return self._cache

    def keep_hidden_states(self, layers: tuple[int, ...], hidden_size: int) -> None:
        """In the next run the cache holds the states in front of these layers for every column, beside
        those that are asked for besides.

        They come from our own forward. A cache of others is forgotten.
        """
        self._asked_layers |= set(layers)
        self._hidden_size = hidden_size

    def _keep_what_was_asked(self) -> None:
        asked = tuple(sorted(self._asked_layers))
        if asked and asked != self._state_layers:
            self._state_layers = asked
            self._committed = []
            self._cache = None

    def reserve(self, max_length: int) -> None:
        """Makes room for `max_length` committed tokens and a tree; growing forgets the cache."""
        self._keep_what_was_asked()
        wanted = max_length + SPARE_COLUMNS
        if self._cache is not None and self._cache.capacity >= wanted:
            return
        step = _CAPACITY_STEPS[self.device.type]
        self._committed = []
        self._cache = None  # the old storage goes before the new one comes
        self._use(self.new_cache(-(-wanted // step) * step))

    def sit(self, cache: TreeCache) -> None:
        """Goes on in a cache that another made, with an empty text."""
        self._keep_what_was_asked()
        self._committed = []
        self._use(cache)

    def _use(self, cache: TreeCache) -> None:
        rows = max(MAX_TREE_NODES + 1, PREFILL_CHUNK)
        self._mask = torch.zeros((rows, cache.capacity), dtype=self.dtype, device=self.device)
        self._cache = cache
        self.forward.reserve(cache.capacity)

    def new_cache(self, capacity: int) -> TreeCache:
        """Of its shape, with the hidden states that are asked for."""
        self._keep_what_was_asked()
        cache = self._new_cache(capacity)
        if self._state_layers:
            cache.hidden_states = HiddenStates(
                self._state_layers, self._hidden_size, cache.capacity, self.dtype, self.device
            )
        return cache

    def _new_cache(self, capacity: int) -> TreeCache:
        shape = self.shape
        if not shape.num_kv_heads:
            return LayerCache(capacity)
        return TreeCache(
            shape.num_layers, shape.num_kv_heads, shape.head_dim, capacity, self.dtype, self.device
        )

    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        """See `Backend.begin`. What an earlier prompt shares with this one is not computed again."""
        body = prompt_token_ids[:-1]
        self.reserve(max_length)
        self._asked_layers = set()
        reused = self.cache.known(self._num_shared(body))
        self._keep_committed(body[:reused])
        for start in range(reused, len(body), PREFILL_CHUNK):
            if should_stop():
                break
            self.append(body[start : start + PREFILL_CHUNK])
        self.cache.keep_prompt()
        return reused

    def append(self, token_ids: list[int]) -> None:
        """Computes and commits tokens, at most PREFILL_CHUNK of them."""
        start, count = self.cache.length, len(token_ids)
        self.cache.write_start = start
        causal = torch.ones(count, count, dtype=torch.bool).tril()
        self.forward_rows(token_ids, range(start, start + count), causal, want_logits=False)
        self._keep_committed([*self._committed, *token_ids])

    def _num_shared(self, body: list[int]) -> int:
        """How many tokens at the beginning of `body` are committed already."""
        shared = 0
        for old, new in zip(self._committed, body, strict=False):
            if old != new:
                break
            shared += 1
        return shared

    def _keep_committed(self, token_ids: list[int]) -> None:
        self.cache.truncate(len(token_ids))
        self._committed = token_ids

    def tree_forward(self, tree: DraftTree) -> torch.Tensor:
        """See `Backend.tree_forward`.

        Raises InvalidSettingError for a tree with branches where drafts must be chains.
        """
        cache = self.cache
        if not self.can_branch and tree.parents != list(range(-1, len(tree) - 1)):
            raise InvalidSettingError(
                "the draft has branches and the target computes chains alone; give a drafter that "
                "makes chains."
            )
        self._tree = tree
        cache.write_start = cache.length
        positions = [cache.length + depth for depth in tree.depths]
        logits = self.forward_rows(tree.token_ids, positions, ancestor_mask(tree.parents))
        assert logits is not None
        return self.in_float32(logits)

    def in_float32(
        self,
        logits: torch.Tensor,  # [rows, vocab]
    ) -> torch.Tensor:
        """The logits in float32, in a buffer that the next call overwrites  # [rows, vocab]."""
        if logits.dtype == torch.float32:
            return logits
        if self._logits.shape[0] < len(logits):
            self._logits = torch.empty(logits.shape, dtype=torch.float32, device=self.device)
        return self._logits[: len(logits)].copy_(logits)

    def forward_rows(
        self,
        token_ids: Sequence[int],
        positions: Sequence[int],
        allowed: torch.Tensor | None,  # [rows, window] bool
        *,
        forward: TargetForward | None = None,
        want_logits: bool = True,
    ) -> torch.Tensor | None:
        """One forward over rows written at the cache's write position.

        `allowed` says which of the last `window` columns (uncommitted entries and the rows
        themselves) each row attends to; the columns before them are open to all. `forward`
        replaces the target's own, over the same cache. Returns logits or None  # [rows, vocab].

        Raises InvalidSettingError for a token id that the forward's embedding lacks.
        """
        device, forward = self.device, forward or self.forward
        check_token_ids(token_ids, forward.num_token_ids)
        mask = window = None
        rows, end = len(token_ids), self.cache.write_start + len(token_ids)
        if allowed is not None and not (rows == 1 and bool(allowed.all())):
            mask = self._mask[:rows, :end]
            window = mask[:, end - allowed.shape[1] :]
            window.masked_fill_(~allowed.to(device), torch.finfo(self.dtype).min)
        try:
            block = RowBlock(
                torch.tensor(token_ids, device=device),
                torch.tensor(positions, device=device),
                self.cache,
                mask,
            )
            return self._compute(forward, block, want_logits=want_logits)
        finally:  # also where it breaks, for the next run
            if window is not None:
                window.zero_()

    def commit(self, path: list[int]) -> None:
        """See `Backend.commit`."""
        assert self._tree is not None, "tree_forward() comes first"
        rows = [0, *path]
        self.keep_rows(rows, [self._tree.token_ids[row] for row in rows])

    def keep_rows(self, rows: Sequence[int], token_ids: Sequence[int]) -> None:
        """Commits rows of the last forwards, by their offsets from the committed length."""
        self._committed.extend(token_ids)
        self.cache.keep(rows)

    def adopt(self, token_ids: list[int]) -> None:
        """Takes over tokens that were committed in the cache without this object's knowledge."""
        self._keep_committed(token_ids)
        self.cache.positions = None  # as they were noted before, they are not those of these tokens

    def forget(self) -> None:
        """Empties the cache, so that the next prompt is computed whole."""
        self._committed = []

    def clear(self) -> None:
        """Empties the cache, also of its numbers: those of a run that broke may be none."""
        self.forget()
        if self._cache is not None:
            self._cache.truncate(0)
            self._cache.wipe(0)

    def synchronize(self) -> None:
        """Waits until the device has done all work given to it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def finish(self) -> None:
        """See `Backend.finish`."""
        self._tree = None
