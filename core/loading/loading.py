"""Loads a model with its tokenizer into memory."""

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch

from core.backends.cpu.library import Kernels, load_kernels
from core.backends.torch.parallel_weights import parallel_reason, parallel_stack
from core.backends.torch.sizes import check_sizes
from core.backends.torch.weights import LayerStack
from core.config import RunConfig, rounding_note
from core.distributed.role import num_ranks
from core.distributed.split_module import SplitModule
from core.distributed.spread import check_spread, read_spread_module
from core.errors import InvalidSettingError, KernelsUnavailableError, ModelUnavailableError
from core.families.description import reason_against
from core.loading.contents import Contents, module_contents, read_contents
from core.loading.packed import QUANTIZED
from core.loading.vocabulary_check import check_vocabulary
from core.loading.weight_loading import Placement
from core.models.chat_encoder import ChatEncoder
from core.models.generation_rules import unapplied_rules
from core.models.memory_check import check_memory
from core.models.model_config import ModelConfig
from core.models.sources import ModelSource, find_model, with_folder
from core.models.tokenizer import read_tokenizer
from core.models.transformers_loading import check_computable, read_module
from core.models.weight_files import CONFIG, read_json_object
from core.quant.streaming import streamed
from core.runtime.storage import Progress, no_progress, weights_sha256
from core.settings import parse_bytes

Placing = Literal["whole", "split", "spread"] | int

# What compiled kernels on a CPU compute; unset is float32.
_COMPILED_DTYPES = (None, "float32", "bfloat16")


class ModelIdentity(NamedTuple):
    """Who a model is, as a trace tells it."""

    name: str
    source: str
    """catalogue, gguf, folder or hub."""
    sha256: str | None
    num_parameters: int
    dtype: str
    num_bytes: int
    note: str

    def to_dict(self) -> dict[str, Any]:
        return self._asdict()


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory."""

    tokenizer: Any
    """transformers' own, or a `core.models.tokenizer.PlainTokenizer`."""
    identity: ModelIdentity
    source: ModelSource
    context_limit: int
    eos_token_ids: frozenset[int]
    dtype: torch.dtype
    device: torch.device
    source_key: str
    """Changes with what the files hold. Drafters belong to it, however the weights are packed."""
    weights: str = "full"
    is_packed: bool = False
    """Whether layers hold whole numbers."""
    model_config: ModelConfig | None = None
    """What our own forward is to compute; None where only the module can."""
    stack: LayerStack | None = None
    """The weights for it; None as well where an engine has taken them over."""
    kernels: Kernels | None = None
    """Compiled kernels, where they were asked for and can be had."""
    is_compiled: bool = False
    """Whether its forwards are to be compiled, by kernels or on its device."""
    note: str = ""
    """Why something that was asked for is missing, in one sentence."""
    given_module: Any = None
    num_gpus: int = 1
    """How many share out each layer of our own forward."""
    split: SplitModule | None = None
    """Where its layers are split over several processes."""
    is_spread: bool = False
    """Whether its layers are on several GPUs of this process."""

    def rounding_note(self, config: RunConfig) -> str:
        """See `core.config.rounding_note`, for the numbers that its rows have."""
        return rounding_note(config, str(self.row_dtype).removeprefix("torch."))

    def check_loaded_as(self, config: RunConfig) -> None:
        """Raises InvalidSettingError where a run asks for other weights than these."""
        dtype = str(self.dtype).removeprefix("torch.")
        if config.dtype not in (None, dtype):
            raise InvalidSettingError(
                f"the target is loaded in {dtype} and the run asks for {config.dtype}; "
                "load it anew or leave dtype unset."
            )
        if config.weights not in (None, self.weights):
            raise InvalidSettingError(
                f"the target is loaded with weights {self.weights} and the run asks for "
                f"{config.weights}; load it anew."
            )
        if config.tensor_parallel not in (1, self.num_gpus):
            raise InvalidSettingError(
                f"the target is loaded on {self.num_gpus} GPUs and the run asks for "
                f"{config.tensor_parallel}; load it anew."
            )

    @property
    def row_dtype(self) -> torch.dtype:
        """Of what passes between layers: kernels round rows only where a layer reads them."""
        return self.dtype if self.kernels is None else torch.float32

    @cached_property
    def module(self) -> Any:
        """The transformers module, in evaluation mode; beside a stack it is read when it is first
        asked for, with weights of its own.

        Raises ModelUnavailableError where it cannot be read.
        """
        return self.given_module or read_module(self.source, self.dtype, self.device)

    @cached_property
    def chat(self) -> ChatEncoder:
        """Its tokenizer with its chat template."""
        return ChatEncoder(self.tokenizer, self.eos_token_ids)


def load_model(
    name: str | ModelSource,
    *,
    dtype: str | None = None,
    device: str = "cpu",
    weights: str | None = None,
    compile: bool | None = None,
    gpu_memory: str | None = None,
    as_draft: bool = False,
    placement: Placing = "whole",
    progress: Progress = no_progress,
) -> LoadedModel:
    """Finds and loads a model by catalogue name, folder, .gguf file or hub id, or loads one that was
    found already.

    Without a dtype, float32 on a CPU, and on a GPU bfloat16 where it computes it. `weights` file takes
    a GGUF file's whole numbers as they are where there are kernels for them, full writes them out, and
    q4 and q8 are the file's own or quantized; unset is file for a .gguf file, else full. `compile`
    unset compiles where device, dtype and architecture allow it. Without a compiler the model is loaded
    all the same, and `note` says so. `as_draft` rounds floating weights to 8 bits where kernels read
    them, for others check what it drafts. A `placement` of split has the processes that torchrun started
    hold a part each, and spread all GPUs of this one (`core.distributed`); a number has so many devices
    of this process share out every layer, for which the processor can stand in. Raises
    ModelUnavailableError where it cannot be had, and InvalidSettingError for a missing device and for
    settings that do not go together.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidSettingError("device is cuda and there is no CUDA GPU; give cpu.")
    _check_together(dtype, device, weights, compile)
    _check_placement(placement, device, weights, compile, gpu_memory)
    is_own = placement not in ("split", "spread")
    source = _found(name, progress, with_files=not is_own)
    weights = weights or default_weights(source)
    if not is_own or (placement != "whole" and device == "cpu"):
        compile = False
    elif compile is None:
        compile = _can_compile(source, device, dtype)
    kernels, note = _kernels(progress) if compile and device == "cpu" else (None, "")
    wanted = dtype or default_dtype(torch.device(device))
    torch_dtype: torch.dtype = getattr(torch, wanted)
    # One GPU need not have room for all that several share out.
    is_on_host = gpu_memory is not None or placement != "whole"
    place = Placement(
        torch_dtype if kernels is None else torch.float32,
        torch.device("cpu" if is_on_host else device),
        kernels,
        rounds_rows=wanted == "bfloat16",
        rounds_weights=as_draft,
    )
    split = None
    if placement == "split":
        check_computable(source)
        progress(f"reading weights into {num_ranks()} processes", 0, 0)
        split = SplitModule(source, torch_dtype, device)
        contents = module_contents(split.module)
    elif placement == "spread":
        check_computable(source)
        progress("reading weights into all GPUs", 0, 0)
        contents = module_contents(read_spread_module(source, torch_dtype))
    else:
        contents = _own_contents(source, weights, place, progress)
    if gpu_memory:
        contents = _streamed(source, contents, torch.device(device), parse_bytes(gpu_memory))
    if isinstance(placement, int):
        progress(f"sharing out layers among {placement} GPUs", 0, 0)
        contents = _shared_out(source, contents, device, placement)
    source_key = source.sha256
    if source_key is None:
        progress("checking", 0, 0)
        source_key = weights_sha256(source.folder)
    if gpu_memory:
        contents = _streamed(source, contents, torch.device(device), parse_bytes(gpu_memory))
    tokenizer = read_tokenizer(source)
    check_vocabulary(source.name, tokenizer, contents.num_token_ids)
    rules = "" if source.gguf is not None else unapplied_rules(source.folder)
    ends = set(contents.end_token_ids)
    if tokenizer.eos_token_id is not None:
        ends.add(int(tokenizer.eos_token_id))
    return LoadedModel(
        tokenizer=tokenizer,
        identity=ModelIdentity(
            source.name,
            source.kind,
            source.sha256,
            contents.num_parameters,
            wanted,
            contents.num_bytes,
            " ".join(told for told in (source.note, rules) if told),
        ),
        source=replace(source, model=None),
        context_limit=contents.context_limit,
        eos_token_ids=frozenset(ends),
        dtype=torch_dtype,
        device=torch.device(device),
        source_key=source_key,
        weights=weights,
        is_packed=weights in QUANTIZED or contents.is_packed,
        model_config=contents.model_config,
        stack=contents.stack,
        kernels=kernels,
        is_compiled=compile and (kernels is not None or device == "cuda"),
        note=" ".join(told for told in (note, rules) if told),
        given_module=contents.module,
        num_gpus=placement if isinstance(placement, int) else 1,
        split=split,
        is_spread=placement == "spread",
    )


def placing(tensor_parallel: int, *, is_spread: bool = False) -> Placing:
    """Where a target's layers go in a process that was started with these settings.

    Raises InvalidSettingError for several GPUs in each of several processes.
    """
    if tensor_parallel > 1:
        if num_ranks() > 1:
            raise InvalidSettingError(
                "tensor_parallel is for the GPUs of one process and several were started; leave it "
                "out, or start one."
            )
        return tensor_parallel
    if num_ranks() > 1:
        return "split"
    return "spread" if is_spread else "whole"


def _own_contents(
    source: ModelSource, weights: str, place: Placement, progress: Progress
) -> Contents:
    """What our own forward computes, or else transformers', all in one place."""
    keeps_files = place.kernels is not None
    check_memory(
        source,
        place.dtype,
        place.device,
        keeps_files=keeps_files,
        keeps_blocks=keeps_files and weights != "full",
    )
    progress("reading weights", 0, 0)
    return read_contents(source, weights, place, progress)


def default_weights(source: ModelSource) -> str:
    """A file is taken as it is; the catalogue's are files for the sake of their size."""
    return "file" if source.gguf is not None and source.kind != "catalogue" else "full"


def _found(name: str | ModelSource, progress: Progress, *, with_files: bool) -> ModelSource:
    """`with_files` has transformers' files written where the model is no folder of them."""
    source = name if isinstance(name, ModelSource) else find_model(name, progress)
    return with_folder(source, progress) if with_files else source


def _check_together(
    dtype: str | None, device: str, weights: str | None, compile: bool | None
) -> None:
    if device == "cuda" and weights in QUANTIZED:
        raise InvalidSettingError(
            f"weights {weights} is for the CPU and device is cuda; leave weights out."
        )
    if device == "cpu" and compile and dtype not in _COMPILED_DTYPES:
        raise InvalidSettingError(
            f"the compiled kernels take rows in float32 or bfloat16 and dtype is {dtype}; leave dtype "
            "or compile out."
        )


def _check_placement(
    placement: Placing,
    device: str,
    weights: str | None,
    compile: bool | None,
    gpu_memory: str | None,
) -> None:
    """Raises InvalidSettingError for settings that a placement excludes."""
    if placement == "split":
        _check_split(weights, compile, gpu_memory)
    if placement == "spread":
        check_spread()
    if isinstance(placement, int):
        _check_parallel(device, weights, placement)


def _check_split(weights: str | None, compile: bool | None, gpu_memory: str | None) -> None:
    """Raises InvalidSettingError for what transformers' split module lacks."""
    for name, is_given in (
        (f"weights {weights}", weights in QUANTIZED),
        ("compile", bool(compile)),
        ("gpu_memory", gpu_memory is not None),
    ):
        if is_given:
            raise InvalidSettingError(
                f"the target is split over {num_ranks()} processes and {name} is for one; leave it "
                "out, or start one process."
            )


def _check_parallel(device: str, weights: str | None, count: int) -> None:
    """Raises InvalidSettingError for what several GPUs cannot share out."""
    if weights in QUANTIZED:
        raise InvalidSettingError(
            f"tensor_parallel shares out full weights and weights is {weights}; leave one out."
        )
    found = torch.cuda.device_count() if device == "cuda" else count
    if found < count:
        raise InvalidSettingError(
            f"tensor_parallel is {count} and this machine has {found} GPUs; give fewer, or leave it out."
        )


def _shared_out(source: ModelSource, contents: Contents, device: str, count: int) -> Contents:
    """A part of every layer on each of the devices."""
    stack, model_config = contents.stack, contents.model_config
    if stack is None or model_config is None:
        reason: str | None = "our own forward cannot compute it"
    else:
        check_sizes(model_config.architecture, stack)
        reason = parallel_reason(model_config.architecture, stack, count)
    if stack is None or model_config is None or reason is not None:
        raise InvalidSettingError(
            f"{source.name} cannot be shared out among {count} GPUs ({reason}); leave tensor_parallel "
            "out."
        )
    devices = [
        torch.device("cuda", index) if device == "cuda" else torch.device("cpu")
        for index in range(count)
    ]
    for first, second in itertools.pairwise(devices):
        if device == "cuda" and not torch.cuda.can_device_access_peer(first, second):
            raise InvalidSettingError(
                f"the GPUs {first} and {second} do not reach each other's memory, which "
                "tensor_parallel needs; leave it out."
            )
    shared = parallel_stack(model_config.architecture, stack, devices)
    for one in devices:
        if device == "cuda":
            torch.cuda.synchronize(one)  # what reads the weights does not wait for what laid them
    return contents._replace(stack=shared)


def _can_compile(source: ModelSource, device: str, dtype: str | None) -> bool:
    return (device == "cuda" or dtype in _COMPILED_DTYPES) and _has_own_forward(source)


def _has_own_forward(source: ModelSource) -> bool:
    """Whether our own forward, and so its compiled kernels, knows the architecture."""
    if source.model is not None:
        return True
    try:
        return reason_against(read_json_object(source.folder / CONFIG)) is None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False  # told when the model is read


class _Kernels(NamedTuple):
    kernels: Kernels | None
    note: str


def _kernels(progress: Progress) -> _Kernels:
    try:
        return _Kernels(load_kernels(progress), "")
    except KernelsUnavailableError as error:
        return _Kernels(None, str(error))


def load_target(
    config: RunConfig, progress: Progress = no_progress, source: ModelSource | None = None
) -> LoadedModel:
    """The target that a run asks for, `source` where it was found already; raises as `load_model`
    does."""
    return load_model(
        source or config.target,
        dtype=config.dtype,
        device=config.device,
        weights=config.weights,
        compile=config.compile,
        gpu_memory=config.gpu_memory,
        placement=placing(config.tensor_parallel, is_spread=config.spread),
        progress=progress,
    )


def default_dtype(device: torch.device) -> str:
    """float32 on a CPU, where drafts then change no text; on a GPU bfloat16, which halves what a step
    reads, where it has instructions for it."""
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bfloat16" if has_bfloat16 else "float32"


def _streamed(
    source: ModelSource, contents: Contents, device: torch.device, budget_bytes: int
) -> Contents:
    """The layers in the host's memory; the device's allocator keeps to the budget from now on."""
    if contents.stack is None:
        raise InvalidSettingError(
            f"gpu_memory streams the layers of our own forward, which cannot compute {source.name}; "
            "leave it out."
        )
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, budget_bytes / total))
    too_little = ModelUnavailableError(
        f"gpu_memory is {budget_bytes / 2**30:.1f} GiB, too little for three layers, embedding "
        f"and output layer of {source.name}; give more."
    )
    try:
        stack = streamed(contents.stack, device)
    except torch.OutOfMemoryError as error:
        raise too_little from error
    # Small tensors may find room in what the allocator has already.
    if stack.num_bytes > budget_bytes:
        raise too_little
    return contents._replace(stack=stack)
