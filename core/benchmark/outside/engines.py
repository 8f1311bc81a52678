"""Other programs by the names of `--with NAME[=WHERE]`."""

from collections.abc import Sequence
from typing import NamedTuple

from core.benchmark.outside.peers import PEERS
from core.config import DTYPES
from core.errors import InvalidSettingError

# What may stand behind each name.
PLACES = {
    "transformers": "DTYPE",
    **dict.fromkeys(PEERS, "PYTHON"),
    "llama-cli": "PATH",
    "llama-server": "PYTHON, PATH or URL",
    "vllm": "PATH or URL",
    "sglang": "PATH or URL",
}


class OutsideEngine(NamedTuple):
    """A program as it was asked for."""

    name: str
    where: str | None
    """A path, an address or a number format; None takes what is installed, in ours."""

    @property
    def text(self) -> str:
        return self.name if self.where is None else f"{self.name}={self.where}"


def parse_engines(texts: Sequence[str]) -> list[OutsideEngine]:
    """Each of `NAME[=WHERE]` once; raises InvalidSettingError."""
    return [_parse(text) for text in dict.fromkeys(texts)]


def _parse(text: str) -> OutsideEngine:
    name, is_placed, where = text.partition("=")
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
    return OutsideEngine(name, where or None)
