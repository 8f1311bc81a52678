"""Sizes of networks by name, for `core.benchmark.widen`, and of what is placed inside them."""

from typing import NamedTuple


class Width(NamedTuple):
    """Sizes of a Llama-shaped network in which every head has its own keys."""

    hidden: int
    num_layers: int
    num_heads: int
    head_dim: int
    intermediate: int


class Narrow(NamedTuple):
    """Sizes of the network that is placed inside."""

    hidden: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int


class WideShape(NamedTuple):
    """A named size: of the target, and of a draft model in the same proportion to it."""

    target: Width
    draft: Width


DRAFTERS = {"sd-classic": "draft", "hybrid": "draft", "sd-eagle": "eagle", "sd-block": "block"}
"""What `core.benchmark.widen` writes beside the folder `target`, by the mode that drafts with it."""
# 7b has the sizes of Llama-2-7B (Touvron et al. 2023). No model of one billion has the 30 layers of
# the default model; 1b is as wide as keeps it at that size.
SHAPES = {
    "7b": WideShape(Width(4096, 32, 32, 128, 11008), Width(1152, 4, 9, 128, 4608)),
    "1b": WideShape(Width(1536, 30, 24, 64, 6144), Width(448, 4, 14, 32, 1792)),
}
