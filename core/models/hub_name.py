"""Names of models on the Hugging Face hub, in all the ways in which people write them."""

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from core.errors import ModelUnavailableError, shown
from core.modes.server import HUB_HOSTS

_OWNER_AND_NAME = r"[A-Za-z0-9][\w.-]*/[\w.-]+"
# owner/name, @ and a revision, : and a quantization.
_ID = re.compile(rf"({_OWNER_AND_NAME})(?:@([\w./-]+))?(?::([\w.-]+))?")
_ID_AND_FILE = re.compile(rf"({_OWNER_AND_NAME})/([\w./ -]+\.gguf)")
_OTHER_PLACES = ("datasets", "spaces", "docs", "papers", "collections", "models")


class HubName(NamedTuple):
    """A repository, and what of it is meant."""

    repo: str
    revision: str | None = None
    """A branch, tag or commit; None for the main branch."""
    quantization: str | None = None
    """Such as Q4_K_M, where there are several GGUF files."""
    file: str | None = None
    """A GGUF file of the repository."""


def hub_name(name: str) -> HubName | None:
    """What a name says; None for what names nothing on the hub.

    Raises ModelUnavailableError for an address that is no model's.
    """
    if name.startswith(("https://", "http://")):
        return _from_address(name)
    for host in HUB_HOSTS:
        if name.startswith(f"{host}/"):
            return _from_address(f"https://{name}")
    found = _ID_AND_FILE.fullmatch(name)
    if found is not None:
        return HubName(found[1], file=found[2])
    found = _ID.fullmatch(name)
    # owner/name.gguf is a file that is not there.
    if found is None or found[1].lower().endswith(".gguf"):
        return None
    return HubName(*found.groups())


def _from_address(address: str) -> HubName:
    """Of a page of a model, of a branch, or of a file."""
    try:
        parts = urlsplit(address)
        owner, repo, *rest = unquote(parts.path).strip("/").split("/")
    except ValueError:
        raise _no_model(address) from None
    # A quantization may stand behind a name: hf.co/owner/name:Q4_K_M
    found = _ID.fullmatch(f"{owner}/{repo}")
    if parts.hostname not in HUB_HOSTS or owner in _OTHER_PLACES or found is None:
        raise _no_model(address)
    name = HubName(*found.groups())
    match rest:
        case []:
            return name
        case ["tree", *revision] if revision:
            return name._replace(revision="/".join(revision))
        case ["blob" | "resolve" | "raw", revision, *file] if file:
            if file[-1].lower().endswith(".gguf"):
                return name._replace(revision=revision, file="/".join(file))
            return name._replace(revision=revision)
    raise _no_model(address)


def _no_model(address: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"{shown(address)} is no page of a model on the hub; give one such as "
        "https://huggingface.co/owner/name, a branch or a file of it, or an id such as owner/name. "
        "Servers are targets of core.generate, core.generate_batch and the page."
    )
