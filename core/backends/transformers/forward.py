"""A model as transformers' own module computes it, for architectures that our own forward lacks."""

from typing import Any

from core.backends.transformers.module_forward import ModuleForward
from core.backends.transformers.twin import check_twin, found_for
from core.families.architecture import Architecture


class TransformersForward(ModuleForward):
    """A ModuleForward in the way that a small copy of the module was seen to compute rightly."""

    def __init__(self, module: Any):
        """Raises ModelUnavailableError where nothing is right."""
        check_twin("the model", module.config)
        super().__init__(module, found_for(module.config).way)


def transformers_shape(module: Any) -> Architecture:
    """Sizes of the whole model; those of keys and values are each layer's own."""
    config = module.config.get_text_config()
    return Architecture(
        num_layers=config.num_hidden_layers,
        num_heads=0,
        num_kv_heads=0,
        head_dim=0,
        vocab_size=config.vocab_size,
        norm_eps=0.0,
    )
