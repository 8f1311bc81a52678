"""Layers for multi-token prediction in checkpoints: where they are, and what their own parts are called.

Beside a decoder layer like the model's last one there are two norms of what is read, a linear layer that
joins both, and a norm of what is made.
"""

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
# In front of all of a checkpoint's, further layers included.
_ROOTS = ("mtp.", "model.mtp_layers.")


def is_mtp_tensor(name: str, num_layers: int) -> bool:
    """Whether a tensor of a model of so many layers is of such a layer."""
    if name.startswith(_ROOTS):
        return True
    number = name.removeprefix("model.layers.").partition(".")[0]
    is_layer = name.startswith("model.layers.") and number.isascii() and number.isdigit()
    return is_layer and len(number) < 6 and int(number) >= num_layers
