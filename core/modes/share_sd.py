"""share-sd: the target's own quantized self drafts."""

from dataclasses import dataclass
from typing import Any, Literal

from core.errors import InvalidSettingError
from core.modes.registry import Mode, register
from core.modes.settings import TreeSettings
from core.settings import default_of, setting

_FEWEST_BITS_OF_FEW_ERRORS = 4


@dataclass(frozen=True, kw_only=True)
class ShareSdSettings(TreeSettings):
    """The target's own hqq-quantized self drafts on the target's cache (Share-SD)."""

    bits: Literal[2, 3, 4, 8, 16] = setting(
        4, "bits of the drafting layers, the head has 8; 16 leaves all unquantized"
    )
    group_size: Literal[32, 64, 128] = setting(32, "weights that share a scale")
    keep: tuple[str, ...] = setting(
        (), "layers that stay unquantized: numbers, head, or names such as layers.0.down"
    )
    offload: bool = setting(
        False, "keep the original weights on disk and read them at every verification; slow"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("group_size", "keep", "offload"):
            if self.bits == 16 and getattr(self, name) != default_of(ShareSdSettings, name):
                raise InvalidSettingError(
                    f"bits is 16, which quantizes nothing, and {name} is for quantized weights; "
                    f"leave {name} out, or give 2, 3, 4 or 8 bits."
                )

    @property
    def expected_rate(self) -> float:
        """See `TreeSettings.expected_rate`. A self of few errors is hardly ever refused, and its drafts
        are dear: by what is expected of others it would never be tried."""
        return 0.9 if self.bits >= _FEWEST_BITS_OF_FEW_ERRORS else super().expected_rate

    def check_run(self, run: Any) -> None:
        """See `DrafterSettings.check_run`."""
        if self.offload and run.invariant:
            raise InvalidSettingError("invariant and offload exclude each other; leave one out.")
        if run.gpu_memory is None:
            return
        if self.offload or self.keep:
            name = "offload" if self.offload else "keep"
            raise InvalidSettingError(f"gpu_memory and {name} exclude each other; leave one out.")
        if self.bits == 16:
            raise InvalidSettingError(
                "gpu_memory drafts with quantized weights and bits is 16; give 2, 3, 4 or 8 bits."
            )


def wants_offload(config: Any) -> bool:
    """Whether a run keeps the original weights on disk."""
    return isinstance(config.drafter, ShareSdSettings) and config.drafter.offload


register(
    Mode(
        "share-sd",
        "self",
        ShareSdSettings,
        "core.drafters.share_sd:make_share_sd",
        needs_own_forward=True,
        reason_against="core.drafters.share_sd:reason_against",
    )
)
