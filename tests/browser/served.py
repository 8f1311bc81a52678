"""The page on a free port with a scripted engine, in this process."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from app.archive import Archive
from app.handlers import Handlers
from app.model_pool import EngineKey, ModelPool
from app.run_store import RunStore
from app.ui import create_page, launch_options
from core.stats import RunStats
from tests.app.scripted_engine import ScriptedEngine, load_scripted

# No sandbox inside containers, and no name but this machine's resolves.
LAUNCH_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


class Served(NamedTuple):
    """A page that is being served, and what is behind it."""

    address: str
    engine: ScriptedEngine
    pool: ModelPool
    store: RunStore

    def last_stats(self) -> RunStats:
        """Statistics of the newest run."""
        return self.store.runs[-1].snapshot().stats


@contextlib.contextmanager
def serve(engine: ScriptedEngine) -> Iterator[Served]:
    """Serves the page until the block is left."""
    pool = ModelPool(load_scripted(engine))
    store = RunStore()
    folder = tempfile.TemporaryDirectory(prefix="specdecodes-runs-")
    handlers = Handlers(pool, store, Archive(Path(folder.name)))
    page = create_page(handlers, "scripted")
    pool.preload(EngineKey("scripted", None))
    _, address, _ = page.launch(quiet=True, prevent_thread_lock=True, **launch_options(handlers))
    try:
        yield Served(address.rstrip("/"), engine, pool, store)
    finally:
        page.close()
        folder.cleanup()
