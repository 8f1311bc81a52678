"""InternLM 3, in Llama's shape."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family

FAMILY = Family(
    model_type="internlm3",
    class_name="InternLM3ForCausalLM",
    biases=ATTENTION_BIASES | MLP_BIASES,
    aliases={"qkv_bias": "attention_bias", "bias": "mlp_bias"},
)
