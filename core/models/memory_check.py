"""Whether a model fits into the memory that is free, before its weights are read."""

import torch

from core.models.sources import ModelSource
from core.models.transformers_loading import out_of_memory
from core.models.weight_files import weight_files

# Weights are not all that a run needs.
_MEMORY_MARGIN = 1.1


def check_memory(
    source: ModelSource,
    dtype: torch.dtype,
    device: torch.device,
    *,
    keeps_files: bool,
    keeps_blocks: bool,
) -> None:
    """Raises ModelUnavailableError; `keeps_files` tells that floating weights stay as wide as the
    files have them, and `keeps_blocks` that a GGUF file's whole numbers stay what they are."""
    if source.model is not None:
        tensors = source.model.file.tensors.values()
        stored = sum(tensor.data.nbytes if keeps_blocks else tensor.num_bytes for tensor in tensors)
    else:
        stored = sum(path.stat().st_size for path in weight_files(source.name, source.folder))
    # Files hold 16 bits a weight.
    needed = int(stored * (1.0 if keeps_files else dtype.itemsize / 2) * _MEMORY_MARGIN)
    is_gpu = device.type == "cuda"
    available = torch.cuda.mem_get_info(device)[0] if is_gpu else _free_memory_bytes()
    if needed > available:
        raise out_of_memory(
            source.name,
            f"needs {needed / 1e9:.1f} GB in {str(dtype).removeprefix('torch.')} and "
            f"{available / 1e9:.1f} GB are free",
        )


def _free_memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
