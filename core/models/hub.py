"""Fetches a model from the Hugging Face hub: the files that are read of it, and no others."""

import glob
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import ModelUnavailableError, reason_of, shown
from core.models.hub_files import fetched
from core.models.hub_name import HubName
from core.models.quiet import quiet_hub
from core.models.weight_files import CONFIG, chosen_names, listed, read_json_object
from core.runtime.proxies import spare_this_machine

# What goes with the weights: configuration, tokenizer, template.
_SMALL_FILES = (".json", ".model", ".txt", ".jinja")
_SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)", re.IGNORECASE)
# What many take where nothing is said.
_USUAL = "Q4_K_M"


class CachedModel(NamedTuple):
    """A repository that was fetched before."""

    repo: str
    weights: list[Path]


class HubFiles(NamedTuple):
    """What is to be fetched of a repository."""

    repo: str
    revision: str
    """A commit, or what was asked for where the hub cannot be reached."""
    weights: list[str]
    others: list[str]
    info: Any
    """huggingface_hub's ModelInfo; None where the hub cannot be reached."""

    @property
    def is_gguf(self) -> bool:
        return self.weights[0].lower().endswith(".gguf")


def find_files(name: HubName) -> HubFiles:
    """The files of a model, by what the hub lists, else by what was fetched before.

    Raises ModelUnavailableError where it cannot be had, and where several could be meant.
    """
    quiet_hub()
    spare_this_machine()
    unreachable = None
    try:
        info, unreachable = _info(name)
        if info is None:
            folder = _fetch(name.repo, name.revision, None)
            revision = folder.name
            present = [
                str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
            ]
        else:
            revision, present = info.sha, [file.rfilename for file in info.siblings or ()]
    except Exception as error:  # the hub's errors have no common class, and the network has its own
        # That nothing was fetched before is no news where the hub should have been asked.
        raise _not_given(name, unreachable or error) from error

    def read_object(file: str) -> dict[str, Any]:
        return read_json_object(_fetch(name.repo, revision, [file]) / file)

    return _chosen(name, revision, sorted(present), info, read_object)


def cached_models() -> list[CachedModel]:
    """Those of whose main branch all weights are here, so that their name needs no network."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, OSError, ValueError):
        return []
    found = [_cached(repo) for repo in repos if repo.repo_type == "model"]
    return sorted(model for model in found if model is not None)


def _cached(repo: Any) -> CachedModel | None:
    """Of huggingface_hub's CachedRepoInfo; None where its main branch is not here, or a part alone."""
    revision = repo.refs.get("main")
    if revision is None:
        return None
    folder = revision.snapshot_path
    present = sorted(str(file.file_path.relative_to(folder)) for file in revision.files)

    def read_object(file: str) -> dict[str, Any]:
        return read_json_object(folder / file)

    try:
        files = _chosen(HubName(repo.repo_id), revision.commit_hash, present, None, read_object)
    except ModelUnavailableError:
        return None
    if not files.is_gguf and CONFIG not in present:
        return None
    return CachedModel(repo.repo_id, [folder / file for file in files.weights])


def fetch(files: HubFiles) -> Path:
    """The folder of the files, fetched where they are missing; raises ModelUnavailableError."""
    try:
        return _fetch(files.repo, files.revision, [*files.weights, *files.others])
    except Exception as error:
        raise _not_given(HubName(files.repo), error) from error


def _info(name: HubName) -> tuple[Any, Exception | None]:
    """What the hub says of a repository; None where it cannot be reached, and why not.

    Raises the hub's errors where it says that there is none.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return HfApi().model_info(name.repo, revision=name.revision, files_metadata=True), None
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except Exception as error:  # no network, or a proxy that is none: what is here may be enough
        return None, error


def _fetch(repo: str, revision: str | None, files: Iterable[str] | None) -> Path:
    """None for all files that are here already."""
    from huggingface_hub import snapshot_download

    patterns = None if files is None else [glob.escape(file) for file in files]
    is_local = files is None
    return fetched(
        snapshot_download,
        repo,
        revision=revision,
        allow_patterns=patterns,
        local_files_only=is_local,
    )


def _chosen(
    name: HubName,
    revision: str,
    present: list[str],
    info: Any,
    read_object: Callable[[str], dict[str, Any]],
) -> HubFiles:
    """`read_object` reads one of the files that are present, which is JSON."""
    ggufs = [file for file in present if file.lower().endswith(".gguf")]
    if name.file or name.quantization or (ggufs and CONFIG not in present):
        return HubFiles(name.repo, revision, _chosen_ggufs(name, ggufs), [], info)
    try:
        weights = chosen_names(present, read_object)
    except ValueError as error:
        # A configuration may stand beside GGUF files for other programs.
        if not ggufs:
            raise ModelUnavailableError(
                f"{name.repo} cannot be loaded: {error}; give a repository with weights as "
                "safetensors or GGUF."
            ) from error
        return HubFiles(name.repo, revision, _chosen_ggufs(name, ggufs), [], info)
    except Exception as error:
        raise _not_given(name, error) from error
    others = [file for file in present if "/" not in file and file.endswith(_SMALL_FILES)]
    return HubFiles(name.repo, revision, weights, others, info)


def _chosen_ggufs(name: HubName, ggufs: list[str]) -> list[str]:
    """All shards of the one model that is meant."""
    # Parts for pictures and statistics for quantizing have this format, too.
    models = sorted(
        {_whole(file) for file in ggufs if not re.search(r"mmproj|imatrix", file, re.IGNORECASE)}
    )
    if name.file is not None:
        found = [model for model in models if model == _whole(name.file)]
    elif name.quantization is not None:
        found = _of_quantization(models, name.quantization)
    else:
        found = models if len(models) == 1 else _of_quantization(models, _USUAL)
    if len(found) != 1:
        wanted = name.file or name.quantization
        told = f"no one file for {shown(wanted)}" if wanted else "several GGUF files"
        raise ModelUnavailableError(
            f"{name.repo} has {told} among {listed(models) or 'its files'}; give a quantization that "
            f"one of them has in its name, as in {name.repo}:{_USUAL}, or the address of a file."
        )
    return [file for file in ggufs if _whole(file) == found[0]]


def _whole(file: str) -> str:
    """The name that all shards of a model share."""
    return _SHARD.sub("", file)


def _of_quantization(models: list[str], quantization: str) -> list[str]:
    """Those that have it in their names, as a word of its own."""
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(quantization)}(?![A-Za-z0-9_])", re.IGNORECASE)
    return [model for model in models if word.search(model)]


def _not_given(name: HubName, error: Exception) -> ModelUnavailableError:
    reason = reason_of(error)
    what = f"{name.repo} of the revision {name.revision}" if name.revision else name.repo
    return ModelUnavailableError(
        f"the hub gave no {what} ({reason}); check the id, that you may read it (`hf auth login`) and "
        "the network, or give a local folder or a .gguf file."
    )
