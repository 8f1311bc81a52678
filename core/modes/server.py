"""server: the target is on a server, which decodes, and drafts, as whoever started it said.

Such a target is named by its address: `http://host:port`, with `/v1` behind it or not, and with
`#model` where the server has several.
"""

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from core.errors import InvalidSettingError, shown
from core.modes.registry import Mode, register

MODE = "server"
# Addresses there are those of models to load.
HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_SCHEMES = ("http://", "https://")
_API = "/v1"


def reason_against(draft: str | None, target: object) -> str:
    """Why a loaded model cannot be what a server has."""
    return (
        f"mode {MODE} takes the address of a server as target, and this one is a model that is loaded "
        "here; give an address such as http://127.0.0.1:8080, or another mode."
    )


register(Mode(MODE, "server", reason_against=reason_against, is_elsewhere=True))


class ServerAddress(NamedTuple):
    """Where a server is, and which of its models is meant."""

    url: str
    """Without a slash, `/v1` or anything else behind it."""
    model: str | None

    @property
    def place(self) -> str:
        """host:port, as operators allow it and keys are kept for it."""
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    @property
    def is_this_machine(self) -> bool:
        """Whether it is one of the addresses that only this machine has, by name or number."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def is_address(target: str) -> bool:
    """Whether the name of a target is the address of a server, and not that of a model on the hub."""
    if not target.startswith(_SCHEMES):
        return False
    host = target.split("://", 1)[1].partition("/")[0]
    return host.lower() not in HUB_HOSTS


def parse_address(target: str) -> ServerAddress:
    """The parts of an address; raises InvalidSettingError for one that cannot be used."""
    location, _, model = target.partition("#")
    try:
        parts = urlsplit(location)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_place = False
    if not has_place or parts.query or any(character <= " " for character in location):
        raise InvalidSettingError(
            f"target is {shown(target)}, which is no address of a server; give http://host:port, with "
            "#model behind it where the server has several."
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidSettingError(
            "the address of a server holds a name or password, which traces would keep; leave it out "
            "and give a key in the environment."
        )
    url = location.rstrip("/").removesuffix(_API).rstrip("/")
    return ServerAddress(url, model or None)
