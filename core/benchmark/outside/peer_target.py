"""What other programs need to know of a target: its files and settings, before any weights are read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.config import RunConfig
from core.errors import InvalidSettingError
from core.loading.loading import default_dtype, default_weights
from core.loading.packed import QUANTIZED
from core.models.chat_encoder import ChatEncoder
from core.models.model_config import ends_of, read_model_config
from core.models.sources import ModelSource
from core.models.tokenizer import read_tokenizer

# Other programs are given no more, for some make all of it ready.
MOST_CONTEXT = 4096
# Types of GGUF files without whole numbers.
_FLOATING = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class PeerTarget:
    """A target that is on this machine."""

    source: ModelSource
    tokenizer: Any
    context: int
    """In tokens."""
    end_token_ids: frozenset[int]
    dtype: str
    """The number format of our own computation."""
    device: str
    """cpu or cuda."""
    weights: str
    """As our own computation takes them, in the words of `RunConfig.weights`."""
    num_threads: int

    @cached_property
    def chat(self) -> ChatEncoder:
        """Its tokenizer with its chat template."""
        return ChatEncoder(self.tokenizer, self.end_token_ids)

    def gguf(self, name: str) -> "GgufTarget":
        """The target's file; InvalidSettingError, in the words of the engine `name`, without one."""
        if self.source.gguf is None:
            raise InvalidSettingError(
                f"{self.source.name} is no GGUF file, which {name} needs; give another target or "
                f"leave {name} out."
            )
        return GgufTarget(self.source.gguf, f"{self.source.file_type}, as the file has them")

    def folder(self, name: str) -> Path:
        """The target in transformers' format; InvalidSettingError where ours computes whole numbers."""
        is_floating = self.weights == "full" or self.source.file_type in _FLOATING
        if self.weights in QUANTIZED or not is_floating:
            raise InvalidSettingError(
                f"{name} computes floating numbers, and those of the target are whole with weights "
                f"{self.weights}; give weights full, or leave {name} out."
            )
        return self.source.folder

    def full_weights(self, dtype: str) -> str:
        """Number format and origin of full weights, in words."""
        return f"{dtype}, {self.source.note}" if self.source.note else dtype


class GgufTarget(NamedTuple):
    """A target as llama.cpp reads it."""

    path: Path
    weights: str
    """In words: the file's own number format."""


def peer_target(source: ModelSource, config: RunConfig) -> PeerTarget:
    """What a found model is to other programs; raises as `read_tokenizer` does."""
    tokenizer = read_tokenizer(source)
    known = source.model.model_config if source.model else read_model_config(source.folder)
    ends = set(ends_of(source.folder) if known is None else known.end_token_ids)
    if tokenizer.eos_token_id is not None:
        ends.add(int(tokenizer.eos_token_id))
    return PeerTarget(
        source=source,
        tokenizer=tokenizer,
        context=min(MOST_CONTEXT if known is None else known.context_limit, MOST_CONTEXT),
        end_token_ids=frozenset(ends),
        dtype=config.dtype or default_dtype(torch.device(config.device)),
        device=config.device,
        weights=config.weights or default_weights(source),
        num_threads=torch.get_num_threads(),
    )
