"""Which other pages of a browser may read a page of this machine."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.listening import is_own_host


class OwnOrigins:
    """Lets only pages of this machine, or of the same host, ask from within a browser.

    Gradio allows any other site where the host is not `localhost` or 127.0.0.1, such as at ::1.
    Without an origin a browser gets the answer, and keeps it from whoever asked.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin, host = headers.get("origin"), headers.get("host", "")
            if origin and _name(origin) != _name(f"//{host}") and not is_own_host(_name(origin)):
                changed = MutableHeaders(raw=list(headers.raw))
                del changed["origin"]
                scope = {**scope, "headers": changed.raw}
        await self._app(scope, receive, send)


def _name(url: str) -> str:
    """The host of a URL without its port; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
