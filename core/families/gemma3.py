"""Gemma 3, text alone: Gemma 2 with norms of heads; layers with a window rotate otherwise."""

from core.families.family import HEAD_NORMS
from core.families.gemma2 import FAMILY as GEMMA2

FAMILY = GEMMA2._replace(
    model_type="gemma3_text",
    class_name="Gemma3ForCausalLM",
    norms={**GEMMA2.norms, **HEAD_NORMS},
    rotations_by_type=True,
    without_effect=frozenset({"_sliding_window_pattern", "sliding_window_pattern"}),
)
