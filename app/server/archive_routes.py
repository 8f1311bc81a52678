"""The visitor's kept runs over HTTP: list, open, rename, delete, tables over all, compare."""

import io
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.messages import Comparison
from app.runs.comparison import MOST_COMPARED, compare_traces
from app.runs.downloads import (
    TABLES,
    export_import_report,
    export_import_table,
    export_table,
)
from app.runs.imports import beside, sources_of
from app.runs.run_finder import RunFinder
from app.runs.visitors import visitor_of
from app.server.bodies import JsonResponse, json_object
from app.server.paths import PREFIX
from app.server.routes import download
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.trace.file import Trace, decoded_lines, read_trace
from visualize.imports.reading import is_trace
from visualize.imports.records import Source

Answer = Callable[[Request, str], Awaitable[Response]]


def archive_routes(finder: RunFinder) -> list[BaseRoute]:
    """Routes that read and change what a visitor has kept; all need the visitor's cookie."""
    archive = finder.archive

    async def listed(request: Request, visitor: str) -> Response:
        runs = await run_in_threadpool(archive.runs, visitor)
        return JsonResponse({"runs": [asdict(run) for run in runs], "most_compared": MOST_COMPARED})

    async def opened(request: Request, visitor: str) -> Response:
        body = await request.body()
        name = request.query_params.get("name", "")

        def adopt() -> dict[str, Any]:
            if not is_trace(body):
                return asdict(archive.adopt_import(visitor, body, name or "file"))
            trace = read_trace(decoded_lines(io.BytesIO(body)))
            return asdict(archive.adopt(visitor, trace, name))

        return JsonResponse(await run_in_threadpool(adopt))

    async def renamed(request: Request, visitor: str) -> Response:
        name = (await json_object(request)).get("name")
        if not isinstance(name, str):
            raise InvalidSettingError("The name is missing; give the run a name.")
        await run_in_threadpool(archive.rename, visitor, request.path_params["run_id"], name)
        return JsonResponse({})

    async def deleted(request: Request, visitor: str) -> Response:
        await run_in_threadpool(archive.delete, visitor, request.path_params["run_id"])
        return JsonResponse({})

    async def message(request: Request, visitor: str) -> Response:
        text = await run_in_threadpool(finder.message, visitor, request.path_params["run_id"])
        if text is None:
            return PlainTextResponse("This run is not kept any more; run it again.", 404)
        return Response(text, media_type="application/json")

    async def table(request: Request, visitor: str) -> Response:
        name = request.path_params["table"]
        if name not in TABLES:
            return PlainTextResponse(f"There is no table {shown(name)}.", 404)
        traces, num_unreadable = await run_in_threadpool(archive.readable, visitor)
        # What is left out is told where it is seen: in the name of the file.
        rest = f"-but-{num_unreadable}-unreadable" if num_unreadable else ""
        return await download(
            lambda path: export_table(traces, path, name), f"{name}.csv", f"all{rest}-{name}.csv"
        )

    async def compared(request: Request, visitor: str) -> Response:
        ids = request.query_params.get("ids", "").split(",")
        if not 2 <= len(ids) <= MOST_COMPARED:
            raise InvalidSettingError(f"{len(ids)} runs are chosen; choose 2 to {MOST_COMPARED}.")

        def compare() -> Comparison:
            found = [finder.find(visitor, run_id) for run_id in ids]
            traces: list[Trace] = [run.trace for run in found if run is not None]
            if len(traces) < len(ids):
                raise InvalidSettingError("A chosen run is not kept any more; choose others.")
            return compare_traces(traces)

        return JsonResponse(await run_in_threadpool(compare))

    async def chosen(request: Request, visitor: str) -> list[Source]:
        ids = request.query_params.get("ids", "").split(",")
        return await run_in_threadpool(sources_of, finder, visitor, ids)

    async def side_by_side(request: Request, visitor: str) -> Response:
        sources = await chosen(request, visitor)
        theme: Literal["light", "dark"] = (
            "dark" if request.query_params.get("theme") == "dark" else "light"
        )
        return JsonResponse(await run_in_threadpool(beside, sources, theme))

    async def side_by_side_table(request: Request, visitor: str) -> Response:
        name, sources = request.path_params["table"], await chosen(request, visitor)
        return await download(
            lambda path: export_import_table(sources, path, name), "t.csv", f"{name}.csv"
        )

    async def side_by_side_report(request: Request, visitor: str) -> Response:
        sources = await chosen(request, visitor)
        return await download(
            lambda path: export_import_report(sources, path), "r.html", "side-by-side.html"
        )

    async def original(request: Request, visitor: str) -> Response:
        run_id = request.path_params["run_id"]
        data = await run_in_threadpool(archive.import_file, visitor, run_id)
        if data is None:
            return PlainTextResponse("There is no such file; choose one of the list.", 404)

        def write(path: Path) -> None:
            path.write_bytes(data)

        runs = await run_in_threadpool(archive.runs, visitor)
        name = next((run.name for run in runs if run.run_id == run_id), "file")
        return await download(write, "file", name)

    base = f"/{PREFIX}/archive"
    return [
        Route(f"{base}.json", _for_visitor(listed)),
        Route(f"{base}/compare.json", _for_visitor(compared)),
        Route(base, _for_visitor(opened), methods=["POST"]),
        Route(f"{base}/beside.json", _for_visitor(side_by_side)),
        Route(f"{base}/beside.html", _for_visitor(side_by_side_report)),
        Route(f"{base}/beside/{{table}}.csv", _for_visitor(side_by_side_table)),
        Route(f"{base}/{{run_id}}/file", _for_visitor(original)),
        Route(f"{base}/{{table}}.csv", _for_visitor(table)),
        Route(f"{base}/{{run_id}}/message.json", _for_visitor(message)),
        Route(f"{base}/{{run_id}}", _for_visitor(renamed), methods=["PATCH"]),
        Route(f"{base}/{{run_id}}", _for_visitor(deleted), methods=["DELETE"]),
    ]


def _for_visitor(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """Refuses those without a cookie, and tells what was refused as a sentence."""

    async def answered(request: Request) -> Response:
        visitor = visitor_of(request)
        if visitor is None:
            return PlainTextResponse("Cookies are off, so no runs are kept; allow them.", 403)
        try:
            return await answer(request, visitor)
        except (SpecDecodesError, ValueError) as error:
            return PlainTextResponse(str(error), 400)

    return answered
