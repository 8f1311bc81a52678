"""Bodies of requests and answers: how large they may be, and the JSON in them."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.root_path import page_path
from app.server.paths import PREFIX
from app.server.refusals import refusal
from core.errors import InvalidSettingError
from core.runtime.strict_json import dumps

MAX_UPLOAD_BYTES = 64_000_000
# A prompt of the longest context is smaller.
MAX_BODY_BYTES = 8_000_000
_UPLOADS = f"/{PREFIX}/archive"
# Gradio would keep any file on disk for anybody; the page has no use for that.
_GRADIO_UPLOAD = "/upload"


class BodyLimit:
    """Refuses bodies beyond what the page can use, before they are read."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].endswith(_GRADIO_UPLOAD):
            await PlainTextResponse("This page takes no files.", 404)(scope, receive, send)
            return
        most = MAX_UPLOAD_BYTES if page_path(scope) == _UPLOADS else MAX_BODY_BYTES
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > most:
            await refusal(scope, _too_large(most), 413)(scope, receive, send)
            return
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise _BodyTooLargeError
            return message

        has_started = False

        async def send_noted(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive_counted, send_noted)
        except _BodyTooLargeError:
            if not has_started:
                await refusal(scope, _too_large(most), 413)(scope, receive, send)


class _BodyTooLargeError(Exception):
    """Leaves the application from the middle of its reading."""


def _too_large(most: int) -> str:
    return f"The body is larger than {most // 10**6} MB; send less."


async def json_object(request: Request) -> dict[str, Any]:
    """The request's JSON object; raises InvalidSettingError where it is none."""
    try:
        values = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InvalidSettingError("The body is not JSON; give a JSON object.") from error
    if not isinstance(values, dict):
        raise InvalidSettingError("The body is no JSON object; give one.")
    return values


class JsonResponse(Response):
    """An answer in JSON, with null for numbers that are not finite."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body; in ASCII, which holds halves of characters as well."""
        return dumps(content, separators=(",", ":")).encode("ascii")
