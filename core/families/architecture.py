"""What a decoder computes, as data: every backend reads this and nothing else of a model's family.

The eager forward (`core.backends.torch`) computes all of it and is what the other backends are held
against. Those say themselves which part they cover.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Rotation(NamedTuple):
    """How far a position rotates the pairs of a head's numbers (Su et al. 2021).

    Number i of a head pairs with number i + head_dim / 2. Weights of models that pair otherwise, or
    rotate only a part of a head, are brought into this order when they are read.
    """

    inv_freq: "torch.Tensor"  # [head_dim / 2] float32
    """0 for pairs that are not rotated."""
    scaling: float
    """Of cosines and sines of the others."""


def default_rotation(rotary_size: int, base: float) -> Rotation:
    """Pair i rotates by base ** (-2i / rotary_size) a position."""
    import torch  # whoever describes a model need not have it

    exponents = torch.arange(0, rotary_size, 2).float() / rotary_size
    return Rotation(1.0 / (base**exponents), 1.0)


class LayerKind(NamedTuple):
    """What a layer does otherwise than others of the same model."""

    window: int | None = None
    """A row sees so many tokens, itself the last of them; None sees all."""
    chunk: int | None = None
    """A row sees its own of the pieces of so many tokens that the text is cut into."""
    rotation: int = 0
    """Which of the model's rotations."""
    norms_rotated: bool = False
    """Whether rotated queries and keys are divided by the root of their mean square."""
    temperature: tuple[float, float] | None = None
    """(a, b): queries at position p are scaled by 1 + a * log(1 + floor((p + 1) / b))."""

    @property
    def sees_all(self) -> bool:
        return self.window is None and self.chunk is None


class Experts(NamedTuple):
    """A feed-forward of several, of which a router chooses some for each row."""

    num_experts: int
    num_per_token: int
    inner_size: int
    shared_size: int | None = None
    """Width of one that all rows pass as well."""
    is_sigmoid: bool = False
    """Scores are sigmoids and scale what an expert reads, not what it makes."""
    is_normalized: bool = True
    """Whether the softmax is over the chosen ones alone."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes and arithmetic that all layers of a model share."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    norm_eps: float
    activation: str = "silu"
    """A key of `core.backends.torch.activations.ACTIVATIONS`, or clamped."""
    is_gated: bool = True
    """Whether the feed-forward scales one product by another's activation, or is one product's alone."""
    is_parallel: bool = False
    """Whether the feed-forward reads what attention reads, and not what attention has added to it."""
    attention_scale: float | None = None
    """Of products of queries and keys; None for head_dim ** -0.5."""
    attention_cap: float | None = None
    """c: scaled products s become c * tanh(s / c)."""
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    """Of what a part adds to the residual."""
    logit_scale: float = 1.0
    logit_cap: float | None = None
    """As attention's, of logits."""
    experts: Experts | None = None

    @property
    def scale(self) -> float:
        """Of attention's products."""
        return self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale
