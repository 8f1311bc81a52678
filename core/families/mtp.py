"""Layers for multi-token prediction in checkpoints: where they are, and what their own parts are called.

Beside a decoder layer like the model's last one there are two norms of what is read, a linear layer that
joins both, and a norm of what is made.
"""

import re
from collections.abc import Collection
from typing import NamedTuple


class MtpForm(NamedTuple):
    """One way of naming them."""

    layer: str
    """In front of the names of the decoder layer's tensors, with {} for the model's number of layers."""
    own: str
    """In front of those of the other parts."""
    embedding_norm: str
    state_norm: str
    join: str
    final_norm: str
    state_is_first: bool = False
    """Whether the join reads the state in front of the embedding."""
    copies: tuple[str, ...] = ()
    """Copies of the model's own embedding and head, which such layers share with it."""


MTP_FORMS = {
    "deepseek": MtpForm(
        layer="model.layers.{}.",
        own="model.layers.{}.",
        embedding_norm="enorm",
        state_norm="hnorm",
        join="eh_proj",
        final_norm="shared_head.norm",
        copies=("embed_tokens.weight", "shared_head.head.weight"),
    ),
    "qwen3-next": MtpForm(
        layer="mtp.layers.0.",
        own="mtp.",
        embedding_norm="pre_fc_norm_embedding",
        state_norm="pre_fc_norm_hidden",
        join="fc",
        final_norm="norm",
    ),
    "mimo": MtpForm(
        layer="model.mtp_layers.0.",
        own="model.mtp_layers.0.",
        embedding_norm="token_layernorm",
        state_norm="hidden_layernorm",
        join="input_proj",
        final_norm="final_layernorm",
        state_is_first=True,
    ),
}
"""Of DeepSeek-V3 and GLM-4.5, of Qwen3-Next and 3.5, and of MiMo."""
# In front of a layer's, further ones of a checkpoint included, and what shows that it is such a layer.
_LAYERS = (
    (re.compile(r"mtp\."), "fc.weight"),
    (re.compile(r"model\.mtp_layers\.\d{1,5}\."), "input_proj.weight"),
    (re.compile(r"model\.layers\.(?P<number>\d{1,5})\."), "eh_proj.weight"),
)


def is_mtp_tensor(name: str, num_layers: int) -> bool:
    """Whether a tensor of a model of so many layers can only be of such a layer."""
    return _layer_of(name, num_layers) is not None


def mtp_tensors(names: Collection[str], num_layers: int) -> set[str]:
    """Those of layers that are known by the one that joins what they read."""
    found = {name: _layer_of(name, num_layers) for name in names}
    return {name for name, layer in found.items() if layer is not None and "".join(layer) in names}


def _layer_of(name: str, num_layers: int) -> tuple[str, str] | None:
    """What stands in front of the layer's names, and the name by which it is known."""
    for pattern, join in _LAYERS:
        match = pattern.match(name)
        number = match.groupdict().get("number") if match else None
        if match and (number is None or int(number) >= num_layers):
            return match[0], join
    return None
