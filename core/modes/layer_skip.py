"""layer-skip: a part of the target's own layers drafts."""

from dataclasses import dataclass
from typing import Any

from core.errors import InvalidSettingError
from core.modes.registry import Mode, register
from core.modes.settings import TreeSettings
from core.settings import setting


@dataclass(frozen=True, kw_only=True)
class LayerSkipSettings(TreeSettings):
    """A part of the target's own layers drafts (LayerSkip, Elhoushi et al. 2024)."""

    layers: tuple[str, ...] = setting(
        (), "layers that draft, numbers or ranges such as 0-9; empty takes a searched set"
    )
    num_layers: int = setting(
        0, "size of the searched set; 0 takes half of the target's layers", low=0, high=1000
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers and self.num_layers:
            raise InvalidSettingError(
                "layers names the layers that draft and num_layers is the size of a searched set; "
                "leave one of them out."
            )

    def check_run(self, run: Any) -> None:
        """See `DrafterSettings.check_run`."""
        if run.gpu_memory is not None:
            raise InvalidSettingError(
                "mode layer-skip drafts with layers that gpu_memory keeps elsewhere; give another "
                "mode."
            )


register(
    Mode(
        "layer-skip",
        "self",
        LayerSkipSettings,
        "core.drafters.layer_skip:make_layer_skip",
        needs_own_forward=True,
        reason_against="core.drafters.layer_skip:reason_against",
    )
)
