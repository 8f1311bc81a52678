"""Jais 2: layer norms, biases, and squares in place of a gate."""

from core.families.family import ATTENTION_BIASES, LAYER_NORM, MLP_BIASES, UNGATED, Family, Key

FAMILY = Family(
    model_type="jais2",
    class_name="Jais2ForCausalLM",
    norm_eps=Key("layer_norm_eps"),
    is_layer_norm=True,
    norm_tensors=LAYER_NORM,
    feed_forward=UNGATED,
    biases=ATTENTION_BIASES | MLP_BIASES,
)
