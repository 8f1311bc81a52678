"""Nemotron: layer norms whose factors are counted from one, and squares in place of a gate."""

from core.families.family import (
    ATTENTION_BIASES,
    LAYER_NORM,
    MLP_BIASES,
    UNGATED,
    Family,
    Gguf,
    Key,
)

FAMILY = Family(
    model_type="nemotron",
    class_name="NemotronForCausalLM",
    gguf=Gguf("nemotron", settings={"hidden_act": "relu2"}),
    norm_eps=Key("norm_eps"),
    is_layer_norm=True,
    norm_tensors=LAYER_NORM,
    norm_offset=1.0,
    feed_forward=UNGATED,
    biases=ATTENTION_BIASES | MLP_BIASES,
    rotated_share=0.5,
)
