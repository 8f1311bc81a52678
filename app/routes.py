"""What the server gives besides Gradio's own page: scripts, styles and exports of runs."""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.run_store import RunStore
from core.trace import Trace, save_trace

STATIC = Path(__file__).parent / "static"
PREFIX = "specdecodes"


def _export_csv(table: str, trace: Trace, path: Path) -> None:
    from visualize.exports import export_csv  # its pandas would delay the start of the page

    export_csv(trace, path, table)


_EXPORTS: dict[str, Callable[[Trace, Path], None]] = {
    "steps.csv": partial(_export_csv, "steps"),
    "tokens.csv": partial(_export_csv, "tokens"),
    "trace.jsonl": save_trace,
}


class _Revalidated(StaticFiles):
    """Files that a browser may keep but asks about, so that an update is seen at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def routes(store: RunStore) -> list[BaseRoute]:
    """Routes for the server; the page finds them under `PREFIX`, relative to its own address."""

    async def export(request: Request) -> Response:
        record = store.get(request.path_params["run_id"])
        name = request.path_params["name"]
        if record is None or name not in _EXPORTS:
            return PlainTextResponse("This run is not kept any more; run it again.", 404)
        folder = Path(tempfile.mkdtemp(prefix="specdecodes-export-"))
        await run_in_threadpool(_EXPORTS[name], record.snapshot(), folder / name)
        return FileResponse(
            folder / name,
            filename=f"{record.mode}-{name}",
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )

    plotly = Path(str(files("plotly") / "package_data"))
    return [
        Mount(f"/{PREFIX}/static", _Revalidated(directory=STATIC)),
        Mount(f"/{PREFIX}/plotly", _Revalidated(directory=plotly)),
        Route(f"/{PREFIX}/runs/{{run_id}}/{{name}}", export),
    ]
