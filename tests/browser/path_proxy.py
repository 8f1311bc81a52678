"""A proxy that serves another server under a path, bit by bit as answers come, as nginx does."""

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from app.server.listening import listen, own_address

PATH = "/tools/demo"
_METHODS = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"]
# Each of these is between two neighbours alone.
_OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}


@contextlib.contextmanager
def proxied(
    target: str, *, is_stripping: bool, says_prefix: bool = False, passes_host: bool = True
) -> Iterator[str]:
    """The address of `target` under `PATH` until the block is left; nothing else is served."""
    client = httpx.AsyncClient(base_url=target, timeout=None, trust_env=False)

    async def forward(request: Request) -> Response:
        path = request.url.path
        if path == "/favicon.ico":  # of the whole site; browsers ask for it by themselves
            return Response(status_code=204)
        if path == PATH:
            return RedirectResponse(f"{PATH}/")
        if not path.startswith(f"{PATH}/"):
            return PlainTextResponse("This is no path of the page.", 404)
        headers = [item for item in request.headers.items() if item[0] not in _OF_ONE_HOP]
        if passes_host:
            headers.append(("host", request.headers["host"]))
        if says_prefix:
            headers.append(("x-forwarded-prefix", PATH))
        inner = client.build_request(
            request.method,
            httpx.URL(path.removeprefix(PATH) if is_stripping else path).copy_with(
                query=request.url.query.encode()
            ),
            headers=headers,
            content=await request.body(),
        )
        answer = await client.send(inner, stream=True)

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in answer.aiter_raw():
                    yield piece
            finally:
                await answer.aclose()

        outer = StreamingResponse(pieces(), answer.status_code)
        outer.raw_headers = [
            (name, value)
            for name, value in answer.headers.raw
            if name.lower().decode() not in _OF_ONE_HOP
        ]
        return outer

    sockets = listen("127.0.0.1", 0)
    app = Starlette(routes=[Route("/{path:path}", forward, methods=_METHODS)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield own_address(sockets) + PATH
    finally:
        server.should_exit = True
        thread.join(5)
