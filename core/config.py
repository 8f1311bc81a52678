"""Settings of a run and of sampling; `core.drafter_settings` has those of each drafter.

Defaults, limits and help texts exist only there; the command line and the page are built from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from core.drafter_settings import DRAFTER_SETTINGS, MODES, DrafterSettings, ShareSdSettings
from core.errors import InvalidSettingError, shown
from core.settings import Settings, build, default_of, parse_bytes, setting

DEFAULT_TARGET = "smollm2-135m"
# As a draft model's name: the head that comes with the program, and the quantized target itself.
SHIPPED_HEAD = "eagle"
SELF = "self"
DTYPES = ("float32", "bfloat16", "float16")
# Runs side by side; each has a cache of its own.
MOST_TOGETHER = 256
WEIGHTS = ("full", "q4", "q8")

DtypeName = Literal["float32", "bfloat16", "float16"]
DraftFailurePolicy = Literal["fail", "plain"]
WeightsName = Literal["full", "q4", "q8"]
AcceptRule = Literal["match", "rejection", "typical"]
# Those under which a run's output is the target's own; see `lossy_rule`.
_LOSSLESS_RULES = ("match", "rejection")

_DRAFTING = tuple(mode for mode, settings in DRAFTER_SETTINGS.items() if settings is not None)
# Settings of a run that some modes alone heed.
_MODES_THAT_HEED = {
    "draft": ("sd-classic", "sd-eagle", "hybrid"),
    "accept": _DRAFTING,
    "draft_failure": _DRAFTING,
}


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Settings):
    """How the target's next token is chosen.

    One rule decides whether it is drawn: a temperature above 0 draws, 0 takes the most probable
    token, and so does giving nothing. `do_sample` alone draws at temperature 1. The two hold what
    they come to, so that a greedy run has temperature 0; what contradicts is refused.
    """

    do_sample: bool = setting(
        None, "draw from the target's distribution; the same as temperature 1 where none is given"
    )
    temperature: float = setting(
        None,
        "above 0 draws from the target's distribution and divides its logits; 0, or unset, takes "
        "the most probable token",
        low=0.0,
        high=100.0,
        flags=("temp", "temperature"),
    )
    top_k: int = setting(0, "keep only the k most probable tokens; 0 keeps all", low=0, high=10**6)
    top_p: float = setting(
        1.0, "keep the smallest set of tokens with this probability mass", low=1e-6, high=1.0
    )
    seed: int = setting(0, "the same seed gives the same text in every mode", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        is_unsaid = self.do_sample is None and self.temperature is None
        if self.temperature is None:
            object.__setattr__(self, "temperature", 1.0 if self.do_sample else 0.0)
        if self.do_sample is None:
            object.__setattr__(self, "do_sample", self.temperature != 0)
        super().__post_init__()
        if self.do_sample and self.temperature == 0:
            raise InvalidSettingError(
                "do_sample draws tokens and temperature 0 takes the most probable ones; give a "
                "temperature above 0, or leave do_sample out."
            )
        if not self.do_sample and self.temperature != 0:
            raise InvalidSettingError(
                f"do_sample is false and temperature {self.temperature} draws tokens; leave one of "
                "them out."
            )
        for name in ("top_k", "top_p"):
            if is_unsaid and getattr(self, name) != default_of(SamplingConfig, name):
                raise InvalidSettingError(
                    f"{name} narrows what is drawn and nothing says that tokens are drawn; give a "
                    f"temperature as well, or leave {name} out."
                )

    @property
    def is_greedy(self) -> bool:
        return not self.do_sample


@dataclass(frozen=True, kw_only=True)
class RunConfig(Settings):
    """Everything that decides a run's output and its time, apart from prompt and machine."""

    mode: str = setting("naive", "which drafter proposes tokens; naive drafts nothing")
    target: str = setting(DEFAULT_TARGET, "catalogue name, local folder, .gguf file or hub id")
    draft: str | None = setting(
        None, "draft model or EAGLE head; unset takes the one shipped for the target, if any"
    )
    dtype: DtypeName | None = setting(
        None, "number format of the weights; unset picks the fastest exact one for the device"
    )
    device: Literal["cpu", "cuda"] = setting("cpu", "where the model runs")
    gpu_memory: str | None = setting(
        None,
        "most memory to take on the GPU, such as 8GiB: layers beyond it stay in the host's memory "
        "and are streamed for each forward",
    )
    spread: bool = setting(
        False, "share the layers among all GPUs of this machine, for a target too large for one"
    )
    weights: WeightsName = setting(
        "full", "full, or the target in 4 or 8 bits: a GGUF file's own numbers, else hqq's"
    )
    compile: bool | None = setting(
        None,
        "compute with kernels compiled for this processor; unset does so where they can be had",
    )
    max_new_tokens: int = setting(256, "stop after this many new tokens", low=1, high=10**6)
    accept: AcceptRule = setting(
        "match", "rule by which draft tokens are kept; typical changes the output distribution"
    )
    draft_failure: DraftFailurePolicy = setting(
        "fail", "when the drafter breaks in the middle: fail ends the run, plain goes on without it"
    )
    invariant: bool = setting(
        False,
        "compute every forward in one fixed shape, so that drafts, verification and plain "
        "decoding agree in every bit; slow",
    )
    trace_top_k: int = setting(
        5, "alternatives recorded at every node; 0 turns the recording off", low=0, high=20
    )
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    drafter: DrafterSettings | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in DRAFTER_SETTINGS:
            raise InvalidSettingError(
                f"mode is {shown(self.mode)}; give one of {', '.join(MODES)}."
            )
        wanted = DRAFTER_SETTINGS[self.mode]
        if wanted is None and self.drafter is not None:
            raise InvalidSettingError(
                f"mode {self.mode} takes no drafter settings; leave them out."
            )
        if wanted is not None and self.drafter is None:
            object.__setattr__(self, "drafter", wanted())
        elif wanted is not None and not isinstance(self.drafter, wanted):
            got = type(self.drafter).__name__
            raise InvalidSettingError(f"mode {self.mode} takes {wanted.__name__}, not {got}.")
        for name, heeding in _MODES_THAT_HEED.items():
            value = getattr(self, name)
            if self.mode not in heeding and value != default_of(RunConfig, name):
                raise InvalidSettingError(
                    f"{name} is {shown(value)} and is no setting of mode {self.mode}; leave it out, "
                    f"or give one of the modes {', '.join(heeding)}."
                )
        drafter = self.drafter
        if self.spread and (self.device != "cuda" or self.weights != "full"):
            raise InvalidSettingError(
                "spread is for full weights on device cuda; leave it out, or give these."
            )
        if self.gpu_memory is not None:
            _check_streaming(self)
        if isinstance(drafter, ShareSdSettings) and drafter.offload and self.invariant:
            raise InvalidSettingError("invariant and offload exclude each other; leave one out.")

    def plain(self) -> "RunConfig":
        """The same run without a drafter."""
        unheeded = {name: default_of(RunConfig, name) for name in _MODES_THAT_HEED}
        return replace(self, mode="naive", drafter=None, **unheeded)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """Inverse of `to_dict`; raises InvalidSettingError on unknown names and bad values."""
        rest = dict(values)
        sampling = build(SamplingConfig, _part(rest, "sampling"))
        drafter_values = _part(rest, "drafter")
        mode = rest.get("mode", "naive")
        drafter_class = DRAFTER_SETTINGS.get(mode) if isinstance(mode, str) else None
        if drafter_values and drafter_class is None and mode in MODES:
            raise InvalidSettingError(f"mode {mode} takes no drafter settings; leave them out.")
        drafter = build(drafter_class, drafter_values) if drafter_class else None
        return build(cls, {**rest, "sampling": sampling, "drafter": drafter})


def lossy_rule(config: Mapping[str, Any]) -> str:
    """The acceptance rule of `RunConfig.to_dict` if it changes the output's distribution, else "".

    Without drafts, and with greedy settings, no rule does. One that is not known to be lossless
    counts as lossy; of a trace from elsewhere anything may be missing.
    """
    rule, sampling = config.get("accept"), config.get("sampling")
    is_drawn = (
        isinstance(sampling, Mapping)
        and bool(sampling.get("do_sample"))
        and sampling.get("temperature") != 0
    )
    if not isinstance(rule, str) or rule in _LOSSLESS_RULES or not is_drawn:
        return ""
    return "" if config.get("mode") == "naive" else rule


def settings_of(mode: str) -> frozenset[str]:
    """Names of the settings that a mode heeds: of a run, of sampling and of its drafter."""
    settings_class = DRAFTER_SETTINGS[mode]
    own = fields(settings_class) if settings_class is not None else ()
    names = {item.name for item in (*fields(RunConfig), *fields(SamplingConfig), *own)}
    return frozenset(name for name in names if mode in _MODES_THAT_HEED.get(name, (mode,))) - {
        "mode",
        "sampling",
        "drafter",
    }


def _check_streaming(config: RunConfig) -> None:
    """Raises InvalidSettingError for what does not go together with streamed layers."""
    parse_bytes(config.gpu_memory or "")
    if config.device != "cuda":
        raise InvalidSettingError("gpu_memory is for device cuda; leave it out on a CPU.")
    if config.spread:
        raise InvalidSettingError("gpu_memory and spread exclude each other; leave one out.")
    drafter = config.drafter
    if isinstance(drafter, ShareSdSettings) and (drafter.offload or drafter.keep):
        name = "offload" if drafter.offload else "keep"
        raise InvalidSettingError(f"gpu_memory and {name} exclude each other; leave one out.")
    if isinstance(drafter, ShareSdSettings) and drafter.bits == 16:
        raise InvalidSettingError(
            "gpu_memory drafts with quantized weights and bits is 16; give 2, 3, 4 or 8 bits."
        )
    if config.mode == "layer-skip":
        raise InvalidSettingError(
            "mode layer-skip drafts with layers that gpu_memory keeps elsewhere; give another mode."
        )


def _part(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Takes a group of settings out of a dict; None and absence mean the defaults."""
    part = values.pop(name, None)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise InvalidSettingError(f"{name} is {shown(part)}; give an object of settings.")
    return part
