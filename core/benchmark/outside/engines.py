"""Other programs by the names of `--with NAME[=WHERE][:OPTION=VALUE,...]`."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from core.benchmark.outside.peers import PEERS
from core.config import DTYPES
from core.errors import InvalidSettingError
from core.modes.server import is_address

SERVER = "server"
# What may stand behind each name.
PLACES = {
    "transformers": "DTYPE",
    **dict.fromkeys(PEERS, "PYTHON"),
    "llama-cli": "PATH",
    "llama-server": "PYTHON, PATH or URL",
    "vllm": "PATH or URL",
    "sglang": "PATH or URL",
    SERVER: "URL",
}

# Those that take options of their own, with which they are started.
WITH_OPTIONS = ("llama-server", "vllm", "sglang")
# A port and the colon of an address are followed by no name and sign.
_OPTIONS = re.compile(r":(?=[a-z][a-z0-9-]*=)")
_NEXT_OPTION = re.compile(r",(?=[a-z][a-z0-9-]*=)")


class OutsideEngine(NamedTuple):
    """A program as it was asked for."""

    name: str
    where: str | None
    """A path, an address or a number format; None takes what is installed, in ours."""
    options: tuple[tuple[str, str], ...] = ()
    """Of its command line, without the dashes, each with its value."""

    @property
    def label(self) -> str:
        """Its name in tables, where it is the only one so called."""
        told = ",".join(f"{option}={value}" for option, value in self.options)
        return f"{self.name}:{told}" if told else self.name

    @property
    def text(self) -> str:
        where = "" if self.where is None else f"={self.where}"
        return self.name + where + self.label.removeprefix(self.name)


def parse_engines(texts: Sequence[str]) -> list[OutsideEngine]:
    """Each of `NAME[=WHERE][:OPTION=VALUE,...]` once; raises InvalidSettingError."""
    return [_parse(text) for text in dict.fromkeys(texts)]


def _parse(text: str) -> OutsideEngine:
    head, *rest = _OPTIONS.split(text, maxsplit=1)
    name, is_placed, where = head.partition("=")
    if name not in PLACES:
        known = ", ".join(f"{name}[={place}]" for name, place in PLACES.items())
        raise InvalidSettingError(f"there is no engine {name!r} to compare with; give {known}.")
    if is_placed and not where:
        raise InvalidSettingError(
            f"--with {text} cannot be read; give --with {name}={PLACES[name]}."
        )
    if name == "transformers" and where and where not in DTYPES:
        raise InvalidSettingError(
            f"--with {text} names no number format; give transformers with one of "
            f"{', '.join(f'={dtype}' for dtype in DTYPES)}."
        )
    if name == SERVER and not is_address(where):
        raise InvalidSettingError(
            f"--with {text} names no server; give --with {SERVER}=http://host:port of one that runs."
        )
    if rest and name not in WITH_OPTIONS:
        raise InvalidSettingError(
            f"--with {text} has options, which {name} does not take; leave them out, or give one of "
            f"{', '.join(WITH_OPTIONS)}."
        )
    pairs = [one.partition("=") for part in rest for one in _NEXT_OPTION.split(part)]
    return OutsideEngine(name, where or None, tuple((option, value) for option, _, value in pairs))
