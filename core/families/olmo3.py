"""OLMo 3: OLMo 2 with windows, whose layers rotate without scaling."""

from core.families.family import GGUF_WINDOW, Gguf
from core.families.olmo2 import FAMILY as OLMO2

FAMILY = OLMO2._replace(
    model_type="olmo3",
    class_name="Olmo3ForCausalLM",
    gguf=Gguf(
        "olmo2",
        needs=GGUF_WINDOW.name,
        settings={"sliding_window": GGUF_WINDOW},
        pattern=4,
    ),
    window="sliding_window",
    has_layer_types=True,
    rotations_by_type=True,
)
