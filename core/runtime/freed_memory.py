"""Memory that was freed and is still held: loading a model leaves tens of megabytes of it."""

import ctypes
import sys


def give_back() -> None:
    """Gives it back to the system, by glibc's malloc_trim(3); other systems do by themselves."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
