"""Settings of a run, of sampling and of each drafter.

Defaults, limits and help texts exist only here; the command line and the page are built from them.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from core.errors import InvalidSettingError, shown
from core.settings import Settings, build, parse_bytes, setting

DEFAULT_TARGET = "smollm2-135m"
MAX_TREE_NODES = 256
# As a draft model's name: the head that comes with the program, and the quantized target itself.
SHIPPED_HEAD = "eagle"
SELF = "self"
DTYPES = ("float32", "bfloat16", "float16")
WEIGHTS = ("full", "q4", "q8")

DtypeName = Literal["float32", "bfloat16", "float16"]
DraftFailurePolicy = Literal["fail", "plain"]
WeightsName = Literal["full", "q4", "q8"]
AcceptRule = Literal["match", "rejection", "typical"]
LOSSY_RULES = frozenset({"typical"})


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Settings):
    """How the target's next token is chosen."""

    do_sample: bool = setting(False, "draw from the target's distribution instead of its maximum")
    temperature: float = setting(
        1.0, "divides the logits; 0 means the most probable token", low=0.0, high=100.0, flag="temp"
    )
    top_k: int = setting(0, "keep only the k most probable tokens; 0 keeps all", low=0, high=10**6)
    top_p: float = setting(
        1.0, "keep the smallest set of tokens with this probability mass", low=1e-6, high=1.0
    )
    seed: int = setting(0, "the same seed gives the same text in every mode", low=0, high=2**63 - 1)

    @property
    def is_greedy(self) -> bool:
        return not self.do_sample or self.temperature == 0.0


@dataclass(frozen=True, kw_only=True)
class DrafterSettings(Settings):
    """Base of each drafter's own settings."""


@dataclass(frozen=True, kw_only=True)
class NgramSettings(DrafterSettings):
    """Suffix lookup in prompt and output (prompt lookup, Saxena 2023; SuffixDecoding, 2024)."""

    num_nodes: int = setting(
        32, "largest number of draft tokens a step", low=1, high=MAX_TREE_NODES
    )
    depth: int = setting(24, "longest draft path in tokens", low=1, high=MAX_TREE_NODES)
    branching: int = setting(3, "most continuations tried after one context", low=1, high=16)
    min_match: int = setting(
        1, "shortest repeated context in tokens that may draft", low=1, high=64
    )
    fixed_size: bool = setting(
        False, "always fill the tree, instead of sizing it by the measured cost of verification"
    )


@dataclass(frozen=True, kw_only=True)
class TreeSettings(DrafterSettings):
    """Dynamic draft trees of a model (EAGLE-2, Li et al. 2024); a chain has branching 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth * self.branching > MAX_TREE_NODES:
            raise InvalidSettingError(
                f"depth {self.depth} times branching {self.branching} are "
                f"{self.depth * self.branching} rows of drafting; give at most {MAX_TREE_NODES}."
            )

    num_nodes: int = setting(
        24, "largest number of draft tokens a step", low=1, high=MAX_TREE_NODES
    )
    depth: int = setting(8, "longest draft path in tokens", low=1, high=64)
    branching: int = setting(1, "children of a node, and nodes expanded a level", low=1, high=16)
    fixed_size: bool = setting(
        False, "always fill the tree, instead of sizing it by the measured cost of verification"
    )


@dataclass(frozen=True, kw_only=True)
class ClassicSettings(TreeSettings):
    """A smaller model drafts (Leviathan et al. 2023)."""


@dataclass(frozen=True, kw_only=True)
class EagleSettings(TreeSettings):
    """A head on the target's hidden states drafts (EAGLE-3, Li et al. 2025)."""


@dataclass(frozen=True, kw_only=True)
class ShareSdSettings(TreeSettings):
    """The target's own hqq-quantized self drafts on the target's cache (Share-SD)."""

    bits: Literal[2, 3, 4, 8, 16] = setting(
        4, "bits of the drafting weights; 16 leaves them unquantized"
    )
    group_size: Literal[32, 64, 128] = setting(64, "weights that share a scale")
    keep: tuple[str, ...] = setting(
        (), "layers that stay unquantized: numbers, head, or names such as layers.0.down"
    )
    offload: bool = setting(
        False, "keep the original weights on disk and read them at every verification; slow"
    )


@dataclass(frozen=True, kw_only=True)
class LayerSkipSettings(TreeSettings):
    """A part of the target's own layers drafts (LayerSkip, Elhoushi et al. 2024)."""

    layers: tuple[str, ...] = setting(
        (), "layers that draft, numbers or ranges such as 0-9; empty takes a searched set"
    )
    num_layers: int = setting(
        0, "size of the searched set; 0 takes half of the target's layers", low=0, high=1000
    )


@dataclass(frozen=True, kw_only=True)
class HybridSettings(ShareSdSettings):
    """Suffix lookup where it has a match that pays, else an EAGLE head or another model."""

    min_match: int = setting(2, "shortest repeated context in tokens that drafts", low=1, high=64)


DRAFTER_SETTINGS: dict[str, type[DrafterSettings] | None] = {
    "naive": None,
    "ngram": NgramSettings,
    "sd-classic": ClassicSettings,
    "sd-eagle": EagleSettings,
    "share-sd": ShareSdSettings,
    "layer-skip": LayerSkipSettings,
    "hybrid": HybridSettings,
}
MODES = tuple(DRAFTER_SETTINGS)


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
        drafter = self.drafter
        if self.spread and (self.device != "cuda" or self.weights != "full"):
            raise InvalidSettingError(
                "spread is for full weights on device cuda; leave it out, or give these."
            )
        if self.gpu_memory is not None:
            _check_streaming(self)
        if isinstance(drafter, ShareSdSettings) and drafter.offload:
            if self.invariant:
                raise InvalidSettingError(
                    "invariant and offload exclude each other; leave one out."
                )
            if drafter.bits == 16:
                raise InvalidSettingError(
                    "offload keeps only quantized weights in memory and bits is 16; give 2, 3, 4 "
                    "or 8 bits, or leave offload out."
                )

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
