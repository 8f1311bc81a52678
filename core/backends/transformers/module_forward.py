"""A model as transformers' own module computes it: trees by masks, or chains as `generate` does."""

import inspect
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F

from core.backends.chain_state import ChainState
from core.backends.layer_cache import LayerCache
from core.backends.row_block import RowBlock, joined
from core.backends.transformers.layer_masks import LayerMasks
from core.errors import ModelUnavailableError

# Tokens that a state lacks are computed in front of the next rows, or alone where they are more.
_MOST_LACKING = 16
_LONGEST_PIECE = 512

# What a module computes rightly over what it keeps of a text: draft trees from masks; rows that follow
# one another; or one row at a time, and several only at the beginning of a text.
Way = Literal["trees", "chains", "tokens"]


class ModuleForward:
    """Implements `core.backends.runner.TargetForward` by calling a module, told what it can do."""

    name = "transformers"

    def __init__(self, module: Any, way: Way):
        self.can_branch = way == "trees"
        self._way = way
        self._module = module
        self._masks = LayerMasks(module.config)

    @property
    def num_token_ids(self) -> int:
        """See `TargetForward.num_token_ids`."""
        return int(self._module.get_input_embeddings().num_embeddings)

    @property
    def pack_key(self) -> Hashable:
        """See `TargetForward.pack_key`."""
        return id(self._module)

    def reserve(self, num_positions: int) -> None:
        """See `TargetForward.reserve`; nothing is needed."""

    def __call__(self, blocks: Sequence[RowBlock], *, want_logits: bool) -> torch.Tensor | None:
        """See `TargetForward`; the blocks are computed one after the other."""
        pieces = [self._block(block, want_logits) for block in blocks]
        return joined([piece for piece in pieces if piece is not None]) if want_logits else None

    def _block(self, block: RowBlock, want_logits: bool) -> torch.Tensor | None:
        """Logits, or None where none are wanted  # [rows, vocab]."""
        cache = block.cache
        assert isinstance(cache, LayerCache), "the layers bring their own sizes"
        compute = self._tree if self.can_branch else self._chain
        return compute(block, cache, want_logits)

    def _tree(self, block: RowBlock, cache: LayerCache, want_logits: bool) -> torch.Tensor | None:
        """Rows that see what the block's mask shows, whatever the order of their columns."""
        if cache.view is None:
            cache.view = self._view(cache)
        if not self._masks.is_plain:
            cache.lowest = int(block.positions.min())
        run = self._module if want_logits else self._module.base_model
        output = run(
            use_cache=True,
            input_ids=block.token_ids[None],
            attention_mask=self._masks.of(block),
            position_ids=block.positions[None],
            cache=cache.view,
        )
        # Other versions take a cache by another name and go on with one of their own.
        if not cache.storages():
            raise _not_used()
        return self._logits(output) if want_logits else None

    def _view(self, cache: LayerCache) -> Any:
        """The cache as transformers reads it."""
        from core.backends.transformers.cache import TransformersCache

        return TransformersCache(cache, self._module.config)

    def _chain(self, block: RowBlock, cache: LayerCache, want_logits: bool) -> torch.Tensor | None:
        """Rows that follow one another; what the state lacks is computed in front of them."""
        if cache.state is None:
            cache.state = ChainState(lambda: self._unseen(cache))
        state, token_ids = cache.state, block.token_ids.tolist()
        start = cache.write_start
        lacking = state.go_back(start)
        try:
            if self._way == "tokens":
                if not want_logits:  # a piece of a prompt, which is computed whole
                    state.put_off(token_ids)
                    return None
                return self._token_by_token(state, block, lacking)
            while len(lacking) > _MOST_LACKING:
                self._advance(state, block, lacking[:_LONGEST_PIECE], want_logits=False)
                lacking = lacking[_LONGEST_PIECE:]
            # The root is always kept, and so are tokens whose logits nobody wants.
            if want_logits and (block.num_rows > 1 or start > cache.length):
                state.keep_copy(cache.length)
            logits = self._advance(state, block, [*lacking, *token_ids], want_logits)
        finally:
            cache.write_start = start
        return None if logits is None else logits[len(lacking) :]

    def _token_by_token(
        self, state: ChainState, block: RowBlock, lacking: list[int]
    ) -> torch.Tensor:
        """Logits after each token of the block  # [rows, vocab]."""
        if len(lacking) > _MOST_LACKING:
            lacking = state.restart()
        if lacking and state.num_seen == 0:
            self._advance(state, block, lacking, want_logits=False)
            lacking = []
        for token_id in lacking:
            self._advance(state, block, [token_id], want_logits=False)
        rows = []
        for token_id in block.token_ids.tolist():
            if block.num_rows > 1 or state.num_seen > block.cache.length:
                state.keep_copy(block.cache.length)
            rows.append(self._advance(state, block, [token_id], want_logits=True))
        return torch.cat([row for row in rows if row is not None])

    def _unseen(self, cache: LayerCache) -> dict[str, Any]:
        """What a module is given for tokens without any in front; some make a cache of their own."""
        is_usual = self._module._supports_default_dynamic_cache()
        return {"cache": self._view(cache)} if is_usual else {}

    def _advance(
        self, state: ChainState, block: RowBlock, token_ids: list[int], want_logits: bool
    ) -> torch.Tensor | None:
        """Logits of tokens that follow the state, in the block's cache  # [tokens, vocab]."""
        cache = block.cache
        assert isinstance(cache, LayerCache), "the layers bring their own sizes"
        cache.write_start = cache.lowest = start = state.num_seen
        device = block.token_ids.device
        inputs = {"input_ids": torch.tensor([token_ids], device=device), **state.live}
        run = self._module if want_logits else self._module.base_model
        # As `generate` does; not every module counts from what it has seen.
        if "position_ids" in inspect.signature(run.forward).parameters:
            positions = torch.arange(start, start + len(token_ids), device=device)
            inputs["position_ids"] = positions[None]
        output = state.advance(token_ids, lambda: run(use_cache=True, **inputs))
        # What comes out under a name that goes in is what the module knows of the text.
        takes = inspect.signature(self._module.forward).parameters
        state.live = {name: output[name] for name in output if name in takes}
        if not state.live:
            raise _not_used()
        return self._logits(output) if want_logits else None

    def _logits(self, output: Any) -> torch.Tensor:
        """Those of all token ids; some modules leave out what fills the vocabulary up
        # [rows, vocab]."""
        logits: torch.Tensor = output.logits[0]
        missing = self._module.config.get_text_config().vocab_size - logits.shape[-1]
        if missing <= 0:
            return logits
        never = torch.finfo(logits.dtype).min / 1024  # a number at any temperature
        return F.pad(logits, (0, missing), value=never)


def _not_used() -> ModelUnavailableError:
    import transformers

    return ModelUnavailableError(
        f"transformers {transformers.__version__} did not use the cache it was given; install "
        "the version that requirements.txt names."
    )
