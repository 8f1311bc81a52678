"""A page behind a proxy that serves it under a path, whether the proxy takes the path away or not."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import InvalidSettingError, shown

VARIABLE = "GRADIO_ROOT_PATH"
_PATH = re.compile(r"(/[A-Za-z0-9._~@:+-]+)*")


class RootPath(NamedTuple):
    """Where browsers find the page; empty texts where that is what a request says by itself."""

    path: str = ""
    """Begins with a slash and ends with none."""
    scheme: str = ""
    host: str = ""
    """With its port, if that is not the scheme's own."""


def parse_root_path(text: str) -> RootPath:
    """A path, or a whole URL; raises InvalidSettingError for anything else."""
    told = (
        f"root path {shown(text)} is none; give a path such as /specdecodes, or the whole URL by "
        "which browsers find the page."
    )
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        raise InvalidSettingError(told) from None
    is_url = parts.scheme in ("http", "https") and bool(parts.netloc)
    path = "/" + parts.path.strip("/") if parts.path.strip("/") else ""
    is_more = parts.query or parts.fragment or (not is_url and (parts.scheme or parts.netloc))
    if is_more or not _PATH.fullmatch(path):
        raise InvalidSettingError(told)
    return RootPath(path, parts.scheme, parts.netloc) if is_url else RootPath(path)


def page_path(scope: Scope) -> str:
    """A request's path on the page itself, without the root path before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class UnderRootPath:
    """Gives every request the form that ASGI wants: its path begins with its root path.

    The root path is the operator's, else the `X-Forwarded-Prefix` of the request.
    """

    def __init__(self, app: ASGIApp, root: RootPath):
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        root = self._root.path or _forwarded_prefix(headers)
        path: str = scope["path"]
        if root and path == root:
            # Without the slash the page's relative addresses would lead out of it.
            await RedirectResponse(f"{root}/", 308)(scope, receive, send)
            return
        scope = {**scope, "root_path": root}
        if root and not path.startswith(f"{root}/"):
            scope["path"] = root + path
        if self._root.host:
            scope["scheme"] = self._root.scheme
            scope["headers"] = _addressed_to(self._root, headers)
        await self._app(scope, receive, send)


def _forwarded_prefix(headers: Headers) -> str:
    """The path that a proxy says it took away; anybody may say so, so that it must be a plain path."""
    path = headers.get("x-forwarded-prefix", "").split(",")[0].strip().rstrip("/")
    return path if _PATH.fullmatch(path) else ""


def _addressed_to(root: RootPath, headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers as of a request to the public address itself."""
    changed = MutableHeaders(raw=list(headers.raw))
    changed["host"] = root.host
    for name in ("x-forwarded-host", "x-forwarded-proto"):
        if name in changed:
            del changed[name]
    return changed.raw
