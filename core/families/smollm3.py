"""SmolLM3: Llama's layers, every fourth without positions."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family, Gguf

FAMILY = Family(
    model_type="smollm3",
    class_name="SmolLM3ForCausalLM",
    gguf=Gguf(
        "smollm3",
        settings={
            "use_sliding_window": False,
            "no_rope_layers": lambda found: [
                int((index + 1) % 4 != 0) for index in range(found["num_hidden_layers"])
            ],
        },
        is_permuted=True,
    ),
    biases=ATTENTION_BIASES | MLP_BIASES,
    window="sliding_window",
    has_window="use_sliding_window",
    has_layer_types=True,
    unrotated="no_rope_layers",
    without_effect=frozenset({"no_rope_layer_interval", "max_window_layers"}),
)
