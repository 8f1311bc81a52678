"""Files of the hub, in the hub library's own cache or in one that can be written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.runtime.scratch import can_be_made, writable_folder
from core.runtime.storage import cache_home


def fetched(download: Callable[..., str], *names: str, **options: Any) -> Path:
    """What `snapshot_download` or `hf_hub_download` gives; raises what they raise, and StorageError.

    A cache that is only read serves what was prepared in it; what is missing there is fetched into
    one that can be written.
    """
    from huggingface_hub import constants

    own = Path(constants.HF_HUB_CACHE)
    # Without a home folder the library's is below a folder named "~".
    if own.is_absolute() and can_be_made(own / "file"):
        return Path(download(*names, **options))
    if own.is_dir():
        try:
            return Path(download(*names, **{**options, "local_files_only": True}))
        except OSError:  # as LocalEntryNotFoundError is
            pass
    elsewhere = writable_folder(own if own.is_absolute() else cache_home() / "hub")
    return Path(download(*names, **options, cache_dir=elsewhere))
