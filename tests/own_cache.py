"""A cache folder of a test's own."""

from pathlib import Path

from core.runtime.storage import cache_home

# Of the cache in use before any test names another.
_KERNELS = cache_home() / "kernels"


def own_cache(folder: Path) -> str:
    """Makes the folder, for SPECDECODES_HOME. Compiled kernels are those of the real cache, for they
    are the same and take seconds."""
    folder.mkdir(parents=True)
    _KERNELS.mkdir(parents=True, exist_ok=True)
    (folder / "kernels").symlink_to(_KERNELS, target_is_directory=True)
    return str(folder)
