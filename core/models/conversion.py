"""Turns a GGUF file once into a folder that loads fast: bf16 safetensors, tokenizer, manifest."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import ModelUnavailableError
from core.models.gguf_header import read_metadata
from core.models.gguf_tokenizer import read_tokenizer, save_tokenizer
from core.models.quiet import quiet_gguf_reader, quiet_transformers
from core.models.storage import (
    Progress,
    check_free_space,
    exclusive,
    file_sha256,
    known_sha256,
    new_folder,
    told_if_full,
)
from core.runtime.scratch import places, writable
from core.runtime.written_files import give_usual_modes
from core.strict_json import dumps

MANIFEST_NAME = "specdecodes.json"
# A changed conversion must not meet folders that an older one wrote.
FORMAT_VERSION = 2
# bf16 has 16 bits a weight, the smallest GGUF formats about 2.
_MOST_GROWTH = 8


class Manifest(NamedTuple):
    """What a converted folder says of itself."""

    source_path: str
    source_sha256: str
    file_type: str
    """The GGUF's own name for its number format, such as Q4_1."""
    files: dict[str, str]
    """sha256 of each file."""


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a converted folder; None for any other folder and a broken manifest."""
    try:
        values = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        if values.pop("version") != FORMAT_VERSION:
            return None
        return Manifest(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def converted_folder(gguf: Path, home: Path, progress: Progress) -> Path:
    """The folder made of a GGUF file; made now where it is missing or broken.

    It is known by the file's content, so that it is found again wherever file and cache are moved
    to. Raises ModelUnavailableError for a file that cannot be read and for a full disk, and
    StorageError where none can be written.
    """
    progress("checking", 0, 0)
    try:
        key = f"{FORMAT_VERSION}:{known_sha256(gguf)}"
        num_bytes = gguf.stat().st_size
    except OSError as error:
        raise ModelUnavailableError(f"{gguf} cannot be read ({error.strerror}).") from error
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    folder = home / "converted" / f"{gguf.stem}-{digest}"
    for place in places(folder):
        if is_whole(place):
            return place
    folder = writable(folder)
    with told_if_full(folder), exclusive(folder, progress):
        if not is_whole(folder):  # another process may have made it meanwhile
            check_free_space(folder, num_bytes * _MOST_GROWTH)
            progress("converting", 0, 0)
            with new_folder(folder) as temporary:
                _convert(gguf, temporary)
    return folder


def is_whole(folder: Path) -> bool:
    """Whether a converted folder holds what its manifest says."""
    manifest = read_manifest(folder)
    if manifest is None or not manifest.files:
        return False
    try:
        return all(known_sha256(folder / name) == sha for name, sha in manifest.files.items())
    except OSError:
        return False


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    quiet_gguf_reader()
    try:
        tokenizer = read_tokenizer(read_metadata(gguf))
        loaded = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unreadable(gguf, error) from error
    except Exception as error:  # readers of broken files raise whatever comes
        raise _unreadable(gguf, error) from error
    config: Any = loaded.config
    # The loader flags the module as quantized, which forbids to change its dtype.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    module: Any = type(loaded)(config)
    module.to(torch.bfloat16)
    module.load_state_dict(loaded.state_dict())
    module.tie_weights()
    module.generation_config = loaded.generation_config
    module.generation_config.eos_token_id = sorted(tokenizer.end_token_ids) or None
    module.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    give_usual_modes(folder.iterdir())
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    manifest = Manifest(str(gguf.resolve()), known_sha256(gguf), _file_type(gguf), files)
    text = dumps({"version": FORMAT_VERSION, **manifest._asdict()}, indent=1)
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")


def _unreadable(gguf: Path, error: Exception) -> ModelUnavailableError:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return ModelUnavailableError(
        f"{gguf} is no GGUF file that can be read ({reason}); give a whole .gguf file of a "
        "supported architecture."
    )


def _file_type(gguf: Path) -> str:
    from gguf import GGUFReader, LlamaFileType

    field: Any = GGUFReader(gguf).get_field("general.file_type")
    if field is None:
        return "unknown"
    name: str = LlamaFileType(int(field.contents())).name
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")
