"""The page on a free port, in this process, with a scripted engine or a real one."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from app.api.asked import ApiOptions
from app.api.routes import api_routes
from app.engines.engine_slot import EngineKey, LoadEngine
from app.engines.model_pool import ModelPool
from app.pages.ui import create_page
from app.root_path import RootPath
from app.runs.archive import Archive
from app.runs.handlers import Handlers
from app.runs.run_store import RunStore
from app.server.accounts import Accounts
from app.server.listening import listen
from app.serving import PageServer
from core.trace.stats import RunStats
from presets.gallery import Preset
from tests.app.scripted_engine import ScriptedEngine, load_scripted


class ServedPage(NamedTuple):
    """A page that is being served."""

    address: str
    handlers: Handlers

    def last_stats(self) -> RunStats:
        """Statistics of the newest run."""
        return self.handlers.store.runs[-1].snapshot().stats


class Served(NamedTuple):
    """A page on a scripted engine."""

    address: str
    handlers: Handlers
    engine: ScriptedEngine

    def last_stats(self) -> RunStats:
        """Statistics of the newest run."""
        return self.handlers.store.runs[-1].snapshot().stats


@contextlib.contextmanager
def serve(engine: ScriptedEngine) -> Iterator[Served]:
    """Serves the page on a scripted engine until the block is left."""
    with serve_pool(load_scripted(engine), "scripted") as page:
        yield Served(page.address, page.handlers, engine)


@contextlib.contextmanager
def serve_pool(
    load: LoadEngine,
    target: str,
    preset: Preset | None = None,
    *,
    mcp: bool = False,
    accounts: Accounts | None = None,
    num_engines: int = 1,
    host: str = "127.0.0.1",
    root: RootPath | None = None,
    with_api: bool = False,
) -> Iterator[ServedPage]:
    """Serves the page on engines of `load` until the block is left; runs are kept until then. With the
    API, programs find it under `/v1` beside the page."""
    with tempfile.TemporaryDirectory(prefix="specdecodes-runs-") as folder:
        pool = ModelPool(load, num_engines)
        handlers = Handlers(pool, RunStore(), Archive(Path(folder)))
        api = ApiOptions(target, {"mode": "ngram"}, 4)
        server = PageServer(
            create_page(handlers, target, preset),
            handlers,
            listen(host, 0),
            beside=api_routes(handlers, api, accounts) if with_api else (),
            root=root,
            accounts=accounts,
            with_mcp=mcp,
            with_metrics=True,
        )
        pool.preload_all(EngineKey(target, None))
        server.start()
        try:
            yield ServedPage(server.own_address, handlers)
        finally:
            server.close()
