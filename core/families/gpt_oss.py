"""gpt-oss: experts with biases and a clamped gate, every other layer with a window, a sink a head."""

from core.families.family import (
    ATTENTION_BIASES,
    GGUF_EXPERT_COUNT,
    GGUF_EXPERT_SIZE,
    GGUF_EXPERTS_USED,
    GGUF_WINDOW,
    LLAMA_NORMS,
    ExpertsOf,
    Family,
    Gguf,
    Stacked,
)

FAMILY = Family(
    model_type="gpt_oss",
    class_name="GptOssForCausalLM",
    gguf=Gguf(
        "gpt-oss",
        settings={
            "num_local_experts": GGUF_EXPERT_COUNT,
            **GGUF_EXPERTS_USED,
            "intermediate_size": GGUF_EXPERT_SIZE,
            "sliding_window": GGUF_WINDOW,
        },
        names={"ffn_norm": "post_attention_norm"},
        pattern=2,
        rotation={"truncate": False},
        without_effect=frozenset({"feed_forward_length"}),
    ),
    norms=LLAMA_NORMS,
    sinks="self_attn.sinks",
    biases=ATTENTION_BIASES,
    activation="clamped",
    window="sliding_window",
    has_layer_types=True,
    experts=ExpertsOf(
        num_experts="num_local_experts",
        inner_size="intermediate_size",
        tensors={
            "router": "mlp.router",
            "gate_up": "mlp.experts.gate_up_proj",
            "down": "mlp.experts.down_proj",
        },
        stacked=Stacked(is_interleaved=True, packed="mxfp4"),
        biases={"router": True, "gate_up": True, "down": True},
    ),
    expects={"hidden_act": "silu", "swiglu_alpha": 1.702, "swiglu_limit": 7.0},
)
