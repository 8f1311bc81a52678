"""What the server gives besides Gradio's own page: scripts, styles, and downloads of runs."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.messages import RenderedAnswer
from app.runs.downloads import DOWNLOADS, export_figure, figures_json, has_figure
from app.runs.handlers import Handlers
from app.runs.kept_lab import kept_lab
from app.runs.lab import Theme, lab_answer, lab_curves, lab_map
from app.runs.lab_profiles import Lab
from app.runs.rendered import rendered
from app.runs.run_finder import FoundRun, RunFinder
from app.runs.visitors import visitor_of
from app.server.bodies import JsonResponse
from app.server.paths import PREFIX, STATIC
from core.errors import SpecDecodesError, TraceFormatError, shown

Endpoint = Callable[[Request], Awaitable[Response]]
_EXPORT = "specdecodes-export-"
# Replays take a processor as long as they last.
_REPLAYING_AT_ONCE = 2
_GONE = "This run is not kept any more; run it again."
_NO_LAB = "This lab is not open any more; open its profiles again under Runs, or measure anew."


class _Revalidated(StaticFiles):
    """Files that a browser may keep but asks about, so that an update is seen at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def download(write: Callable[[Path], None], name: str, filename: str) -> Response:
    """A file written for this answer alone, and removed after it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_EXPORT}{os.getpid()}-"))
    clean_up = partial(shutil.rmtree, folder, ignore_errors=True)
    try:
        await run_in_threadpool(write, folder / name)
    except SpecDecodesError as error:
        clean_up()
        return PlainTextResponse(str(error), 400)
    return FileResponse(folder / name, filename=filename, background=BackgroundTask(clean_up))


def remove_left_exports() -> None:
    """Removes the files of downloads in the middle of which a server was killed."""
    import psutil

    for folder in Path(tempfile.gettempdir()).glob(f"{_EXPORT}*"):
        pid = folder.name.removeprefix(_EXPORT).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def routes(handlers: Handlers) -> list[BaseRoute]:
    """Routes for the server; the page finds them under `PREFIX`, relative to its own address."""
    finder: RunFinder = handlers.finder
    replaying = asyncio.Semaphore(_REPLAYING_AT_ONCE)

    def of_run(answer: Callable[[Request, FoundRun], Awaitable[Response]]) -> Endpoint:
        """Finds the run first; one that is not there, or does not open, is told in a sentence."""

        async def answered(request: Request) -> Response:
            visitor, run_id = visitor_of(request), request.path_params["run_id"]
            try:
                found = await run_in_threadpool(finder.find, visitor, run_id)
            except TraceFormatError as error:
                return PlainTextResponse(f"The trace of this run does not open: {error}", 400)
            except SpecDecodesError:
                found = None
            return PlainTextResponse(_GONE, 404) if found is None else await answer(request, found)

        return answered

    async def status(request: Request) -> Response:
        return JsonResponse(handlers.pool.status._asdict())

    async def run_file(request: Request, found: FoundRun) -> Response:
        name = request.path_params["name"]
        if name not in DOWNLOADS:
            return PlainTextResponse(f"A run has no file {shown(name)}.", 404)
        return await download(
            lambda path: DOWNLOADS[name](found.trace, path), name, f"{found.mode}-{name}"
        )

    async def run_figures(request: Request, found: FoundRun) -> Response:
        theme: Theme = "light"
        if request.query_params.get("theme") == "dark":
            theme = "dark"
        body = await run_in_threadpool(figures_json, found.trace, theme)
        return Response(body, media_type="application/json")

    async def run_answer(request: Request, found: FoundRun) -> Response:
        answer: RenderedAnswer = {
            "blocks": await run_in_threadpool(lambda: rendered(found.trace.text))
        }
        return JsonResponse(answer)

    def of_lab(answer: Callable[[Lab, Mapping[str, str], Theme], Any]) -> Endpoint:
        """What a lab answers, off the thread that serves and few at once; a refusal is a sentence."""

        async def answered(request: Request) -> Response:
            found = handlers.labs.find(visitor_of(request), request.path_params["lab_id"])
            if found is None:
                return PlainTextResponse(_NO_LAB, 404)
            asked = dict(request.query_params)
            theme: Theme = "dark" if asked.pop("theme", "") == "dark" else "light"
            try:
                async with replaying:
                    body = await run_in_threadpool(answer, found, asked, theme)
                return JsonResponse(body)
            except SpecDecodesError as error:
                return PlainTextResponse(str(error), 400)

        return answered

    async def open_lab(request: Request) -> Response:
        visitor, ids = visitor_of(request), request.query_params.get("ids", "").split(",")
        try:
            lab = await run_in_threadpool(kept_lab, handlers.finder, visitor, ids)
        except SpecDecodesError as error:
            return PlainTextResponse(str(error), 400)
        handlers.labs.add(lab)
        return JsonResponse(lab.told())

    lab_tables = of_lab(lambda lab, asked, _: lab_answer(lab, asked))

    async def figure_file(request: Request, found: FoundRun) -> Response:
        name = request.path_params["figure"]
        if not await run_in_threadpool(has_figure, name):
            return PlainTextResponse(f"A run has no figure {shown(name)}.", 404)
        return await download(
            lambda path: export_figure(name, found.trace, path), f"{name}.csv", f"{name}.csv"
        )

    plotly = Path(str(files("plotly") / "package_data"))
    return [
        Mount(f"/{PREFIX}/static", _Revalidated(directory=STATIC)),
        Mount(f"/{PREFIX}/plotly", _Revalidated(directory=plotly)),
        Route(f"/{PREFIX}/status.json", status),
        Route(f"/{PREFIX}/runs/{{run_id}}/figures.json", of_run(run_figures)),
        Route(f"/{PREFIX}/runs/{{run_id}}/answer.json", of_run(run_answer)),
        Route(f"/{PREFIX}/labs.json", open_lab, methods=["POST"]),
        Route(f"/{PREFIX}/labs/{{lab_id}}/answer.json", lab_tables),
        Route(f"/{PREFIX}/labs/{{lab_id}}/curves.json", of_lab(lab_curves)),
        Route(f"/{PREFIX}/labs/{{lab_id}}/map.json", of_lab(lab_map)),
        Route(f"/{PREFIX}/runs/{{run_id}}/figures/{{figure}}.csv", of_run(figure_file)),
        Route(f"/{PREFIX}/runs/{{run_id}}/{{name}}", of_run(run_file)),
    ]
