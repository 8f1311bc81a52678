"""Serves the page with a scripted engine, to look at it without a model."""

import argparse
import os
import tempfile
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from app.engines.engine_slot import EngineKey
from app.engines.model_pool import ModelPool
from app.pages.ui import create_page
from app.root_path import parse_root_path
from app.runs.archive import Archive
from app.runs.handlers import Handlers
from app.runs.run_store import RunStore
from app.server.listening import listen
from app.serving import PageServer
from tests.app.scripted_engine import ScriptedEngine, load_scripted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7870)
    parser.add_argument("--root-path", default="")
    parser.add_argument("--step-ms", type=float, default=20)
    parser.add_argument("--width", type=int, default=3)
    parser.add_argument("--depth", type=int, default=4)
    options = parser.parse_args()
    engine = ScriptedEngine(step_s=options.step_ms / 1e3, width=options.width, depth=options.depth)
    pool = ModelPool(load_scripted(engine))
    handlers = Handlers(pool, RunStore(), Archive(Path(tempfile.mkdtemp())))
    server = PageServer(
        create_page(handlers, "scripted"),
        handlers,
        listen(options.host, options.port),
        root=parse_root_path(options.root_path),
    )
    pool.preload(EngineKey("scripted", None))
    server.start()
    print(f"at {server.address}/", flush=True)
    server.wait()


if __name__ == "__main__":
    main()
