"""Turns a GGUF model once into a folder in transformers' format, for those who read nothing else.

Plain numbers stay what they are; blocks become bfloat16.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from core.errors import ModelUnavailableError, SpecDecodesError
from core.models.gguf_shards import shards_of, whole_name
from core.runtime.scratch import places, writable
from core.runtime.storage import (
    Progress,
    check_free_space,
    exclusive,
    file_sha256,
    known_sha256,
    new_folder,
    told_if_full,
)
from core.runtime.strict_json import dumps
from core.runtime.written_files import give_usual_modes

MANIFEST_NAME = "specdecodes.json"
# A changed conversion must not meet folders that an older one wrote.
FORMAT_VERSION = 4
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
    """The folder made of a GGUF model, of which one file is named; made now where it is missing or
    broken.

    It is known by the file's content, so that it is found again wherever file and cache are moved
    to. Raises ModelUnavailableError for a file that cannot be read and for a full disk, and
    StorageError where none can be written.
    """
    progress("checking", 0, 0)
    shards, sha256 = shards_and_sha256(gguf)
    num_bytes = sum(shard.stat().st_size for shard in shards)
    digest = hashlib.sha256(f"{FORMAT_VERSION}:{sha256}".encode()).hexdigest()[:16]
    folder = home / "converted" / f"{whole_name(gguf.name).removesuffix(gguf.suffix)}-{digest}"
    for place in places(folder):
        if is_whole(place):
            return place
    folder = writable(folder)
    with told_if_full(folder), exclusive(folder, progress):
        if not is_whole(folder):  # another process may have made it meanwhile
            check_free_space(folder, num_bytes * _MOST_GROWTH)
            progress("converting", 0, 0)
            with new_folder(folder) as temporary:
                _convert(shards, sha256, temporary, progress)
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


def shards_and_sha256(gguf: Path) -> tuple[list[Path], str]:
    """All files of a model of which one is named, and the hash of the file or of all their hashes.

    Raises ModelUnavailableError.
    """
    try:
        shards = shards_of(gguf)
        hashes = [known_sha256(shard) for shard in shards]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelUnavailableError(
            f"{gguf} cannot be read ({reason}); give a whole .gguf file, or one of all its shards."
        ) from error
    if len(hashes) == 1:
        return shards, hashes[0]
    return shards, hashlib.sha256("".join(hashes).encode()).hexdigest()


def _convert(shards: list[Path], sha256: str, folder: Path, progress: Progress) -> None:
    # Numbers and tokenizers are imported where a file is converted, so that commands start at once.
    from core.models.gguf_folder import write_folder
    from core.models.gguf_model import read_gguf, unreadable
    from core.models.gguf_others import write_by_transformers
    from core.models.gguf_tokenizer import save_tokenizer

    gguf = shards[0]
    model = read_gguf(gguf)
    try:
        if model.model_config is not None:
            write_folder(model, folder, progress)
        else:
            write_by_transformers(shards, model.file, folder)
    except SpecDecodesError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise unreadable(gguf, error) from error
    except Exception as error:  # readers of broken files raise whatever comes
        raise unreadable(gguf, error) from error
    ends = {"eos_token_id": sorted(model.tokenizer.end_token_ids) or None}
    (folder / "generation_config.json").write_text(dumps(ends), encoding="utf-8")
    save_tokenizer(model.tokenizer, folder)
    give_usual_modes(folder.iterdir())
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    manifest = Manifest(str(gguf.resolve()), sha256, model.file_type, files)
    text = dumps({"version": FORMAT_VERSION, **manifest._asdict()}, indent=1)
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
