"""Keys of servers: from the environment alone, each for one address, and never in a trace."""

import os

from core.errors import InvalidSettingError
from core.modes.server import ServerAddress

VARIABLE = "SPECDECODES_SERVER_KEYS"


def key_of(address: ServerAddress) -> str | None:
    """The key that goes to a server; raises InvalidSettingError for a variable that cannot be read."""
    found = None
    for entry in os.environ.get(VARIABLE, "").split(","):
        if not entry.strip():
            continue
        place, sign, key = entry.strip().partition("=")
        if not (place and sign and key) or not key.isascii() or not key.isprintable():
            raise InvalidSettingError(
                f"{VARIABLE} has an entry that cannot be read; give host:port=KEY, with commas between "
                "several."
            )
        if place == address.place:
            found = key
    return found
