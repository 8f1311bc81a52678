"""gpt-oss: experts with biases and a clamped gate, every other layer with a window, a sink a head."""

from core.families.family import ATTENTION_BIASES, LLAMA_NORMS, ExpertsOf, Family, Stacked

FAMILY = Family(
    model_type="gpt_oss",
    class_name="GptOssForCausalLM",
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
