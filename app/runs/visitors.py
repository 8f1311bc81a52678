"""Who a visitor is: an unguessable cookie, so that kept runs are found again and by nobody else."""

import hashlib
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.root_path import page_path

COOKIE = "specdecodes-visitor"
_YEAR_S = 365 * 24 * 3600


def visitor_of(request: Any) -> str | None:
    """The name of the folder of whoever asks; the cookie itself is never written to disk."""
    cookie = request.cookies.get(COOKIE)
    return hashlib.sha256(cookie.encode()).hexdigest()[:32] if cookie else None


def owner_of(request: Any) -> str:
    """Who takes a place in the queue: the visitor, or the address of a program without a cookie."""
    return visitor_of(request) or str(request.client.host if request.client else "nobody")


class VisitorCookie:
    """Gives every browser that asks for the page a cookie of its own."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or page_path(scope) != "/" or _has_cookie(scope):
            await self._app(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = f"{COOKIE}={secrets.token_urlsafe(24)}"
                path = scope.get("root_path") or "/"
                MutableHeaders(scope=message).append(
                    "set-cookie", f"{value}; Max-Age={_YEAR_S}; Path={path}; HttpOnly; SameSite=Lax"
                )
            await send(message)

        await self._app(scope, receive, send_with_cookie)


def _has_cookie(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                return COOKIE in SimpleCookie(value.decode("latin-1"))
            except CookieError:
                return False
    return False
