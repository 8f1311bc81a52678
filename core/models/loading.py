"""Loads a model with its tokenizer into memory."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.config import RunConfig
from core.errors import InvalidSettingError, KernelsUnavailableError, ModelUnavailableError
from core.lean.native.library import Kernels, load_kernels
from core.lean.weights import SUPPORTED, LayerStack
from core.models.packed import packed_stack
from core.models.quiet import quiet_transformers
from core.models.sources import ModelSource, find_model
from core.models.storage import Progress, no_progress

# Tokenizers and configurations without a limit say 10**30; nothing holds so many tokens.
_MOST_CONTEXT = 1 << 20
# Weights are not all that a run needs.
_MEMORY_MARGIN = 1.1


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


class LoadedModel(NamedTuple):
    """A model in memory."""

    module: Any
    """The transformers module, in evaluation mode."""
    tokenizer: Any
    identity: ModelIdentity
    source: ModelSource
    context_limit: int
    eos_token_ids: frozenset[int]
    dtype: torch.dtype
    device: torch.device
    weights: str = "full"
    stack: LayerStack | None = None
    """The layers in 4 or 8 bits, which stand in for the module's own."""
    kernels: Kernels | None = None
    """Compiled kernels, where they were asked for and can be had."""
    note: str = ""
    """Why something that was asked for is missing, in one sentence."""


def load_model(
    name: str,
    *,
    dtype: str | None = None,
    device: str = "cpu",
    weights: str = "full",
    compile: bool | None = None,
    progress: Progress = no_progress,
) -> LoadedModel:
    """Finds and loads a model by catalogue name, folder, .gguf file or hub id.

    Without a dtype, float32 for compiled kernels, else bfloat16 where the device computes it, else
    float32. `weights` q4 and q8 keep the layers packed. `compile` unset compiles where device,
    dtype and architecture allow it. Without a compiler the model is loaded all the same, and `note`
    says so. Raises ModelUnavailableError where it cannot be had, and InvalidSettingError for a
    missing device and for settings that do not go together.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidSettingError("device is cuda and there is no CUDA GPU; give cpu.")
    _check_together(dtype, device, weights, compile)
    source = find_model(name, progress)
    if compile is None:
        compile = device == "cpu" and dtype in (None, "float32") and _is_lean(source)
    kernels, note = _kernels(progress) if compile else (None, "")
    wanted = dtype or ("float32" if kernels else default_dtype(torch.device(device)))
    torch_dtype: torch.dtype = getattr(torch, wanted)
    _check_memory(source, torch_dtype, torch.device(device))
    progress("reading weights", 0, 0)
    is_packed = weights != "full"
    # Only the settings and the rotation of the module are used beside packed layers.
    module, tokenizer = _read(source, torch.bfloat16 if is_packed else torch_dtype, device)
    num_parameters = sum(parameter.numel() for parameter in module.parameters())
    stack = None
    if is_packed:
        stack = packed_stack(source, module, weights, torch_dtype, kernels, progress)
        module.to(torch_dtype)
    num_bytes = sum(parameter.nbytes for parameter in module.parameters())
    if stack is not None:
        num_bytes += stack.num_bytes + stack.num_embedding_bytes
    return LoadedModel(
        module=module,
        tokenizer=tokenizer,
        identity=ModelIdentity(
            name, source.kind, source.sha256, num_parameters, wanted, num_bytes, source.note
        ),
        source=source,
        context_limit=_context_limit(module),
        eos_token_ids=_eos_token_ids(module, tokenizer),
        dtype=torch_dtype,
        device=torch.device(device),
        weights=weights,
        stack=stack,
        kernels=kernels,
        note=note,
    )


def _check_together(dtype: str | None, device: str, weights: str, compile: bool | None) -> None:
    if device == "cuda" and weights != "full":
        raise InvalidSettingError(
            f"weights {weights} is for the CPU and device is cuda; leave weights out."
        )
    if device == "cuda" and compile:
        raise InvalidSettingError("compile is for the CPU and device is cuda; leave compile out.")
    if compile and dtype not in (None, "float32"):
        raise InvalidSettingError(
            f"the compiled kernels compute in float32 and dtype is {dtype}; leave dtype or compile "
            "out."
        )


def _is_lean(source: ModelSource) -> bool:
    """Whether the lean forward, and so its compiled kernels, knows the architecture."""
    try:
        config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # told when the model is read
        return False
    return any(name in SUPPORTED for name in config.get("architectures") or ())


class _Kernels(NamedTuple):
    kernels: Kernels | None
    note: str


def _kernels(progress: Progress) -> _Kernels:
    try:
        return _Kernels(load_kernels(progress), "")
    except KernelsUnavailableError as error:
        return _Kernels(None, str(error))


def load_target(config: RunConfig, progress: Progress = no_progress) -> LoadedModel:
    """The target that a run asks for; raises as `load_model` does."""
    return load_model(
        config.target,
        dtype=config.dtype,
        device=config.device,
        weights=config.weights,
        compile=config.compile,
        progress=progress,
    )


def default_dtype(device: torch.device) -> str:
    """bfloat16 where the device has instructions for it, else float32."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"


def weight_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Memory that the weights of a folder take in a dtype; their files hold 16 bits a weight."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) * dtype.itemsize // 2


def _check_memory(source: ModelSource, dtype: torch.dtype, device: torch.device) -> None:
    needed = int(weight_bytes(source.folder, dtype) * _MEMORY_MARGIN)
    is_gpu = device.type == "cuda"
    available = torch.cuda.mem_get_info(device)[0] if is_gpu else _free_memory_bytes()
    if needed > available:
        raise _out_of_memory(
            source.name,
            f"needs {needed / 1e9:.1f} GB in {str(dtype).removeprefix('torch.')} and "
            f"{available / 1e9:.1f} GB are free",
        )


def _free_memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _out_of_memory(name: str, why: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"{name} {why}; give a smaller model or dtype, or close other programs."
    )


def _read(source: ModelSource, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_transformers()
    try:
        module: Any = AutoModelForCausalLM.from_pretrained(source.folder, dtype=dtype)
        module.to(device).eval().requires_grad_(False)
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(source.name, "does not fit into memory") from error
    except Exception as error:  # broken files raise whatever comes
        if "not enough memory" in str(error):
            raise _out_of_memory(source.name, "does not fit into memory") from error
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelUnavailableError(
            f"{source.name} cannot be loaded ({reason}); give a causal language model in "
            "transformers' format."
        ) from error
    return module, tokenizer


def _context_limit(module: Any) -> int:
    limit = getattr(module.config.get_text_config(), "max_position_embeddings", None)
    return min(int(limit or _MOST_CONTEXT), _MOST_CONTEXT)


def _eos_token_ids(module: Any, tokenizer: Any) -> frozenset[int]:
    """All ids that end an answer: the generation settings' and the tokenizer's."""
    found = module.generation_config.eos_token_id
    ids = set(found) if isinstance(found, list) else {found}
    ids.add(tokenizer.eos_token_id)
    return frozenset(int(token_id) for token_id in ids if token_id is not None)
