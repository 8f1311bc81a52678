"""Gemma 3, text alone: Gemma 2 with norms of heads; layers with a window rotate otherwise."""

from core.families.family import HEAD_NORMS, Gguf, GgufKey
from core.families.gemma2 import FAMILY as GEMMA2
from core.families.gemma2 import scalar_of

FAMILY = GEMMA2._replace(
    model_type="gemma3_text",
    class_name="Gemma3ForCausalLM",
    gguf=Gguf(
        "gemma3",
        settings={
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": scalar_of(largest=62),
            "attn_logit_softcapping": None,
            "final_logit_softcapping": GgufKey("final_logit_softcapping", lambda _: None),
            "sliding_window": GgufKey("attention.sliding_window", lambda _: None),
        },
        pattern=6,
        local_base=10_000.0,
    ),
    norms={**GEMMA2.norms, **HEAD_NORMS},
    attention_cap=None,
    rotations_by_type=True,
    # transformers' module leaves it aside.
    expects={"attn_logit_softcapping": None},
    without_effect=frozenset({"_sliding_window_pattern", "sliding_window_pattern"}),
)
