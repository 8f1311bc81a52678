"""Settings of each mode's drafter, and which modes there are."""

from dataclasses import dataclass
from typing import Literal

from core.errors import InvalidSettingError
from core.settings import Settings, default_of, setting

MAX_TREE_NODES = 256


@dataclass(frozen=True, kw_only=True)
class DrafterSettings(Settings):
    """Base of each drafter's own settings."""


@dataclass(frozen=True, kw_only=True)
class NgramSettings(DrafterSettings):
    """Suffix lookup in prompt and output (prompt lookup, Saxena 2023; SuffixDecoding, 2024)."""

    num_nodes: int = setting(
        32, "largest number of draft tokens a step", low=1, high=MAX_TREE_NODES
    )
    depth: int = setting(24, "longest draft path in tokens", low=1, high=MAX_TREE_NODES)
    branching: int = setting(3, "most continuations tried after one context", low=1, high=16)
    min_match: int = setting(
        1, "shortest repeated context in tokens that may draft", low=1, high=64
    )
    fixed_size: bool = setting(
        False, "always fill the tree, instead of sizing it by the measured cost of verification"
    )


@dataclass(frozen=True, kw_only=True)
class TreeSettings(DrafterSettings):
    """Dynamic draft trees of a model (EAGLE-2, Li et al. 2024); a chain has branching 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth * self.branching > MAX_TREE_NODES:
            raise InvalidSettingError(
                f"depth {self.depth} times branching {self.branching} are "
                f"{self.depth * self.branching} rows of drafting; give at most {MAX_TREE_NODES}."
            )

    num_nodes: int = setting(
        24, "largest number of draft tokens a step", low=1, high=MAX_TREE_NODES
    )
    depth: int = setting(8, "longest draft path in tokens", low=1, high=64)
    branching: int = setting(1, "children of a node, and nodes expanded a level", low=1, high=16)
    fixed_size: bool = setting(
        False, "always fill the tree, instead of sizing it by the measured cost of verification"
    )


@dataclass(frozen=True, kw_only=True)
class ClassicSettings(TreeSettings):
    """A smaller model drafts (Leviathan et al. 2023)."""


@dataclass(frozen=True, kw_only=True)
class EagleSettings(TreeSettings):
    """A head on the target's hidden states drafts (EAGLE-3, Li et al. 2025)."""


@dataclass(frozen=True, kw_only=True)
class ShareSdSettings(TreeSettings):
    """The target's own hqq-quantized self drafts on the target's cache (Share-SD)."""

    bits: Literal[2, 3, 4, 8, 16] = setting(
        4, "bits of the drafting weights; 16 leaves them unquantized"
    )
    group_size: Literal[32, 64, 128] = setting(64, "weights that share a scale")
    keep: tuple[str, ...] = setting(
        (), "layers that stay unquantized: numbers, head, or names such as layers.0.down"
    )
    offload: bool = setting(
        False, "keep the original weights on disk and read them at every verification; slow"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("group_size", "keep", "offload"):
            if self.bits == 16 and getattr(self, name) != default_of(ShareSdSettings, name):
                raise InvalidSettingError(
                    f"bits is 16, which quantizes nothing, and {name} is for quantized weights; "
                    f"leave {name} out, or give 2, 3, 4 or 8 bits."
                )


@dataclass(frozen=True, kw_only=True)
class LayerSkipSettings(TreeSettings):
    """A part of the target's own layers drafts (LayerSkip, Elhoushi et al. 2024)."""

    layers: tuple[str, ...] = setting(
        (), "layers that draft, numbers or ranges such as 0-9; empty takes a searched set"
    )
    num_layers: int = setting(
        0, "size of the searched set; 0 takes half of the target's layers", low=0, high=1000
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers and self.num_layers:
            raise InvalidSettingError(
                "layers names the layers that draft and num_layers is the size of a searched set; "
                "leave one of them out."
            )


@dataclass(frozen=True, kw_only=True)
class HybridSettings(ShareSdSettings):
    """Suffix lookup where it has a match that pays, else an EAGLE head or another model."""

    min_match: int = setting(2, "shortest repeated context in tokens that drafts", low=1, high=64)


DRAFTER_SETTINGS: dict[str, type[DrafterSettings] | None] = {
    "naive": None,
    "ngram": NgramSettings,
    "sd-classic": ClassicSettings,
    "sd-eagle": EagleSettings,
    "share-sd": ShareSdSettings,
    "layer-skip": LayerSkipSettings,
    "hybrid": HybridSettings,
}
MODES = tuple(DRAFTER_SETTINGS)
