"""A folder for what Triton's compiler keeps, where its own cannot be written."""

import os
from pathlib import Path

from core.errors import StorageError
from core.runtime.scratch import can_be_made, scratch_folder

_VARIABLE = "TRITON_CACHE_DIR"


def provide_triton_cache() -> None:
    """Names one of the user's own, before anything is compiled on a device.

    Triton's is in the home folder, which a container may lack. Torch finds one by itself. Where the
    user chose a folder, or Triton's can be written, nothing changes.
    """
    home = Path(os.environ.get("TRITON_HOME") or os.path.expanduser("~"))
    if os.environ.get(_VARIABLE) or (
        home.is_absolute() and can_be_made(home / ".triton" / "cache" / "file")
    ):
        return
    try:
        os.environ[_VARIABLE] = str(scratch_folder() / "triton")
    except StorageError:
        return  # the compiler tells of it, if there is anything to compile
