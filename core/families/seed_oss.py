"""Seed-OSS: Llama's layers with biases of queries, keys and values."""

from core.families.family import ATTENTION_BIASES, MLP_BIASES, Family, Gguf, Key

FAMILY = Family(
    model_type="seed_oss",
    class_name="SeedOssForCausalLM",
    gguf=Gguf("seed_oss", names={"ffn_norm": "post_attention_norm"}),
    biases=ATTENTION_BIASES | MLP_BIASES | {"o": Key("attention_out_bias")},
)
