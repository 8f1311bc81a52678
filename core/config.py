"""Settings of a run and of sampling; `core.modes` has those of each drafter.

Defaults, limits and help texts exist only there; the command line and the page are built from them.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from core.acceptance.registry import rules
from core.acceptance.sampling_config import CORRECTING
from core.acceptance.sampling_config import SamplingConfig as SamplingConfig
from core.errors import InvalidSettingError, shown
from core.modes.registry import mode_names, modes
from core.modes.server import MODE as SERVER_MODE
from core.modes.server import is_address, parse_address
from core.modes.settings import DrafterSettings
from core.settings import Settings, build, default_of, parse_bytes, setting

DEFAULT_TARGET = "smollm2-135m"
DTYPES = ("float32", "bfloat16", "float16")
# Runs side by side; each has a cache of its own.
MOST_TOGETHER = 256
MOST_STOPS = 16
MOST_STOP_CHARACTERS = 256
WEIGHTS = ("file", "full", "q4", "q8")

DtypeName = Literal["float32", "bfloat16", "float16"]
DraftFailurePolicy = Literal["fail", "plain"]
WeightsName = Literal["file", "full", "q4", "q8"]
# Settings of a run that some modes alone heed.
_PARTIAL = ("draft", "accept", "draft_failure")
# What decides how our own forward computes and is recorded, of which a server knows nothing, and what
# servers define in ways of their own.
_OF_OUR_OWN = (
    "dtype", "device", "gpu_memory", "tensor_parallel", "spread", "weights", "compile", "invariant",
    "trace_top_k", "stop",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunConfig(Settings):
    """Everything that decides a run's output and its time, apart from prompt and machine."""

    mode: str = setting("naive", "which drafter proposes tokens; naive drafts nothing")
    target: str = setting(
        DEFAULT_TARGET,
        "catalogue name, local folder, .gguf file, hub id, or http://host:port of a server",
    )
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
    tensor_parallel: int = setting(
        1,
        "GPUs of this machine that share out every layer, each with some of its heads: faster than one",
        low=1,
        high=8,
    )
    spread: bool = setting(
        False, "share the layers among all GPUs of this machine, for a target too large for one"
    )
    weights: WeightsName | None = setting(
        None,
        "file takes whole numbers as a GGUF file has them; full writes them out; q4 and q8 are 4 or 8 "
        "bits, the file's own or hqq's; unset is file for a .gguf file, else full",
    )
    compile: bool | None = setting(
        None,
        "compute with kernels compiled for this processor; unset does so where they can be had",
    )
    max_new_tokens: int = setting(256, "stop after this many new tokens", low=1, high=10**6)
    stop: tuple[str, ...] = setting(
        (),
        "the answer ends before the first of these texts, which is left out",
        is_verbatim=True,
    )
    accept: str = setting(
        "match",
        "rule by which draft tokens are kept; typical changes the output distribution",
        choices=rules,
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
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        super().__post_init__()
        _check_ends(self)
        if self.mode not in modes():
            raise InvalidSettingError(
                f"mode is {shown(self.mode)}; give one of {', '.join(mode_names())}."
            )
        wanted = modes()[self.mode].settings
        if wanted is None and self.drafter is not None:
            raise InvalidSettingError(
                f"mode {self.mode} takes no drafter settings; leave them out."
            )
        if wanted is not None and self.drafter is None:
            object.__setattr__(self, "drafter", wanted())
        elif wanted is not None and not isinstance(self.drafter, wanted):
            got = type(self.drafter).__name__
            raise InvalidSettingError(f"mode {self.mode} takes {wanted.__name__}, not {got}.")
        _check_server(self)
        for name in (*_PARTIAL, *_OF_OUR_OWN):
            value = getattr(self, name)
            if name not in settings_of(self.mode) and value != default_of(RunConfig, name):
                heeding = (mode for mode in mode_names() if name in settings_of(mode))
                raise InvalidSettingError(
                    f"{name} is {shown(value)} and is no setting of mode {self.mode}; leave it out, "
                    f"or give one of the modes {', '.join(heeding)}."
                )
        if self.spread and (self.device != "cuda" or self.weights in ("q4", "q8")):
            raise InvalidSettingError(
                "spread is for weights file or full on device cuda; leave it out, or give these."
            )
        if self.gpu_memory is not None:
            _check_streaming(self)
        if self.tensor_parallel > 1:
            _check_parallel(self)
        if self.drafter is not None:
            self.drafter.check_run(self)

    def plain(self) -> "RunConfig":
        """The same run without a drafter."""
        unheeded = {name: default_of(RunConfig, name) for name in _PARTIAL}
        return replace(self, mode="naive", drafter=None, **unheeded)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """Inverse of `to_dict`; raises InvalidSettingError on unknown names and bad values."""
        rest = dict(values)
        sampling = build(SamplingConfig, _part(rest, "sampling"))
        drafter_values = _part(rest, "drafter")
        mode = rest.get("mode", "naive")
        known = modes().get(mode) if isinstance(mode, str) else None
        drafter_class = None if known is None else known.settings
        if drafter_values and drafter_class is None and known is not None:
            raise InvalidSettingError(f"mode {mode} takes no drafter settings; leave them out.")
        drafter = build(drafter_class, drafter_values) if drafter_class else None
        return build(cls, {**rest, "sampling": sampling, "drafter": drafter})


def rounding_note(config: RunConfig, dtype: str) -> str:
    """Why a run's text may part from plain decoding's, in one sentence; empty where it cannot.

    In 16 bits a product of several rows rounds otherwise than one of a single row, and two tokens may
    be nearer to each other than that.
    """
    if config.mode == "naive" or config.invariant or dtype == "float32":
        return ""
    return (
        f"In {dtype} drafts may change the text where two tokens are nearly as probable, for rows "
        "that are computed together round otherwise than one alone; with dtype float32 or invariant "
        "they do not."
    )


def settings_of(name: str) -> frozenset[str]:
    """Names of the settings that a mode heeds: of a run, of sampling and of its drafter."""
    mode = modes()[name]
    own = fields(mode.settings) if mode.settings is not None else ()
    names = {item.name for item in (*fields(RunConfig), *fields(SamplingConfig), *own)}
    unheeded = {"mode", "sampling", "drafter"}
    if not mode.takes_draft:
        unheeded.add("draft")
    if mode.factory is None:
        unheeded |= {"accept", "draft_failure"}
    if mode.is_elsewhere:
        unheeded |= {*_OF_OUR_OWN, *CORRECTING}
    return frozenset(names - unheeded)


def _check_ends(config: RunConfig) -> None:
    """Raises InvalidSettingError for stop strings that are none, and for ends that contradict."""
    if len(config.stop) > MOST_STOPS:
        raise InvalidSettingError(f"stop has {len(config.stop)} texts; give at most {MOST_STOPS}.")
    for text in config.stop:
        if not 1 <= len(text) <= MOST_STOP_CHARACTERS:
            raise InvalidSettingError(
                f"stop has a text of {len(text)} characters; give 1 to {MOST_STOP_CHARACTERS}."
            )
    least = config.sampling.min_new_tokens
    if least > config.max_new_tokens:
        raise InvalidSettingError(
            f"min_new_tokens is {least} and max_new_tokens {config.max_new_tokens}; give a number of "
            "at most that."
        )


def _check_server(config: RunConfig) -> None:
    """Raises InvalidSettingError for a server as target in another mode, and for what it cannot heed."""
    if is_address(config.target):
        parse_address(config.target)
        if config.mode != SERVER_MODE:
            raise InvalidSettingError(
                f"target is {shown(config.target)}, a server, which decodes as it was started, and mode "
                f"is {config.mode}; give mode {SERVER_MODE}."
            )
    corrections = config.sampling.corrections
    if modes()[config.mode].is_elsewhere and corrections:
        raise InvalidSettingError(
            f"{corrections[0]} is no setting of mode {config.mode}, for servers define it in ways of "
            "their own; leave it out."
        )


def _check_streaming(config: RunConfig) -> None:
    """Raises InvalidSettingError for what does not go together with streamed layers."""
    parse_bytes(config.gpu_memory or "")
    if config.device != "cuda":
        raise InvalidSettingError("gpu_memory is for device cuda; leave it out on a CPU.")
    if config.spread:
        raise InvalidSettingError("gpu_memory and spread exclude each other; leave one out.")


def _check_parallel(config: RunConfig) -> None:
    """Raises InvalidSettingError for what does not go together with layers on several GPUs."""
    if config.device != "cuda":
        raise InvalidSettingError("tensor_parallel is for device cuda; leave it out on a CPU.")
    for name in ("gpu_memory", "spread", "invariant"):
        if getattr(config, name):
            raise InvalidSettingError(
                f"tensor_parallel and {name} exclude each other; leave one out."
            )


def _part(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Takes a group of settings out of a dict; None and absence mean the defaults."""
    part = values.pop(name, None)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise InvalidSettingError(f"{name} is {shown(part)}; give an object of settings.")
    return part
