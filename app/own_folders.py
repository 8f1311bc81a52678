"""Folders that the page writes into: kept runs, and Gradio's temporary files."""

import os
from pathlib import Path

from core.runtime.scratch import scratch_folder, writable_folder
from core.runtime.storage import cache_home

_VARIABLE = "GRADIO_TEMP_DIR"


def provide_folders() -> Path:
    """The folder of kept runs. Gradio gets a temporary folder of this user's own, unless the
    operator named one: its default is one for all users of the machine, and belongs to the first.

    Call it before Gradio is imported. Raises InvalidSettingError and StorageError where there is no
    folder to write into.
    """
    if not os.environ.get(_VARIABLE):
        os.environ[_VARIABLE] = str(scratch_folder() / "gradio")
    return writable_folder(cache_home() / "runs")
