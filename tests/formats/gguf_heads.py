"""EAGLE-3 heads as GGUF files: the folder that each is made of, and what is changed of it first."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from tests.formats.published import HEADS, Change, setting, tensor, write_changed

FILES = Path(__file__).parent / "eagle_gguf"
_FUSED = 96
# At the lengths of these heads, for a converter that looks for it in one of two places.
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8,
}  # fmt: skip


class HeadSource(NamedTuple):
    """Where a file's head comes from."""

    head: str
    """The folder's name."""
    changes: Sequence[Change] = ()
    outtype: str = "bf16"

    def written(self, folder: Path) -> Path:
        """The head in a new folder."""

        def change(config: dict, tensors: dict[str, torch.Tensor]) -> None:
            for one in self.changes:
                one(config, tensors)

        return write_changed(folder, HEADS / self.head, change)


SOURCES = {
    "plain": HeadSource("safeailab-3"),
    "own-width": HeadSource("safeailab-3-own-width"),
    "speculators": HeadSource("speculators-plain"),
    "llama3": HeadSource(
        "specforge-3",
        [
            setting(
                eagle_aux_hidden_state_layer_ids=[1, 3, 8],
                eagle_config=None,
                original_max_position_embeddings=8,
                rope_parameters=_LLAMA3,
            )
        ],
    ),
    "norms": HeadSource(
        "safeailab-3",
        [
            setting(norm_before_residual=True, norm_before_fc=True),
            tensor("input_norm.weight", lambda have: torch.linspace(0.5, 1.5, _FUSED)),
        ],
        "f32",
    ),
    "eight-bit": HeadSource("safeailab-3", outtype="q8_0"),
}
