"""VaultGemma: Gemma 2 without norms behind each part."""

from core.families import gemma2

FAMILY = gemma2.FAMILY._replace(
    model_type="vaultgemma",
    class_name="VaultGemmaForCausalLM",
    gguf=None,
    norms={"input_norm": "input_layernorm", "ffn_norm": "pre_feedforward_layernorm"},
)
