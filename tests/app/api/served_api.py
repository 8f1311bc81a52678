"""The interface for programs on a free port, in this process, with a scripted engine or a real one."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
from starlette.applications import Starlette

from app.api.asked import ApiOptions
from app.api.routes import api_routes
from app.engines.engine_slot import EngineKey, LoadEngine
from app.engines.model_pool import ModelPool
from app.route_server import RouteServer
from app.runs.archive import Archive
from app.runs.handlers import Handlers
from app.runs.limits import Limits
from app.runs.run_store import RunStore
from app.server.accounts import Accounts
from app.server.listening import listen


class ServedApi(NamedTuple):
    """The interface while it is served."""

    address: str
    handlers: Handlers

    def client(self, **given: Any) -> openai.OpenAI:
        """OpenAI's own client for it."""
        return openai.OpenAI(
            **{"base_url": f"{self.address}/v1", "api_key": "none", "max_retries": 0, **given}
        )


@contextlib.contextmanager
def serve_api(
    load: LoadEngine,
    target: str,
    *,
    limits: Limits | None = None,
    accounts: Accounts | None = None,
    settings: dict[str, Any] | None = None,
    size: int = 4,
    num_engines: int = 1,
) -> Iterator[ServedApi]:
    """Serves it until the block is left."""
    with tempfile.TemporaryDirectory(prefix="specdecodes-runs-") as folder:
        pool = ModelPool(load, num_engines)
        handlers = Handlers(pool, RunStore(), Archive(Path(folder)), limits)
        options = ApiOptions(target, settings or {"mode": "ngram"}, size)
        app = Starlette(routes=api_routes(handlers, options, accounts))
        server = RouteServer(app, listen("127.0.0.1", 0))
        for thread in pool.preload_all(EngineKey(target, None)):
            thread.join()
        server.start()
        try:
            yield ServedApi(server.own_address, handlers)
        finally:
            handlers.close()
            server.close()
