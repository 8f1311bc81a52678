"""Importing large packages without the garbage collector in the way."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Torch makes some million objects that stay; the collector would walk over them again and
    again while it is imported, and later in the middle of runs."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
