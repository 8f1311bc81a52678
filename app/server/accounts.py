"""Names and passwords of visitors, where the operator asks for them (HTTP Basic, RFC 7617)."""

import asyncio
import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.root_path import page_path
from app.server.refusals import refusal
from core.errors import InvalidSettingError
from core.runtime.text_files import decode_text, numbered_lines, read_text

VARIABLE = "SPECDECODES_AUTH"
# By which this program's own requests to its page are known.
OWN_HEADER = "x-specdecodes-key"
# For watchers.
_OPEN_PATH = "/healthz"
_PAUSE_S = 0.5


class Accounts:
    """Who may come in; keeps digests and no passwords."""

    def __init__(self, passwords: Mapping[str, str]):
        self.own_key = secrets.token_urlsafe(32)
        """What this program itself comes in with."""
        self._digests = {name: _digest(password) for name, password in passwords.items()}

    def admit(self, authorization: str | None) -> bool:
        """Whether an Authorization header names an account with its password."""
        given = _given(authorization or "")
        if given is None:
            return False
        name, _, password = given.partition(":")
        # An unknown name takes as long as a known one.
        digest = self._digests.get(name, b"")
        return secrets.compare_digest(digest, _digest(password))

    def is_own(self, key: str | None) -> bool:
        """Whether a request is this program's own."""
        return secrets.compare_digest((key or "").encode(), self.own_key.encode())


def _given(authorization: str) -> str | None:
    """The name:password of a header: of HTTP Basic, or as programs send an API key (RFC 6750)."""
    scheme, _, credentials = authorization.partition(" ")
    try:
        if scheme.lower() == "bearer":
            return credentials.strip().encode("latin-1").decode("utf-8")
        if scheme.lower() == "basic":
            return base64.b64decode(credentials, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError):
        pass
    return None


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8")).digest()


def read_accounts(path: Path | None) -> Accounts | None:
    """Accounts of a file, else of the environment; None where neither is given.

    Both hold a name:password a line. Raises InvalidSettingError for what cannot be read.
    """
    wanted = "give a name:password a line"
    if path is not None:
        place, text = str(path), read_text(path, wanted)
    elif VARIABLE in os.environ:
        place, text = VARIABLE, decode_text(os.fsencode(os.environ[VARIABLE]), VARIABLE, wanted)
    else:
        return None
    passwords: dict[str, str] = {}
    for number, line in numbered_lines(text):
        name, colon, password = line.partition(":")
        if not (name and colon and password):
            raise InvalidSettingError(
                f"{place}, line {number}: it is no account; give name:password."
            )
        if name in passwords:
            raise InvalidSettingError(
                f"{place}, line {number}: {name} is there already; give each name once."
            )
        passwords[name] = password
    if not passwords:
        raise InvalidSettingError(f"{place} has no accounts; {wanted}.")
    return Accounts(passwords)


class Login:
    """Lets only those with an account through to anything but the open paths."""

    def __init__(self, app: ASGIApp, accounts: Accounts):
        self._app = app
        self._accounts = accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or page_path(scope) == _OPEN_PATH:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("authorization")
        if self._accounts.admit(given) or self._accounts.is_own(headers.get(OWN_HEADER)):
            await self._app(scope, receive, send)
            return
        if given is not None:
            await asyncio.sleep(_PAUSE_S)  # so that passwords are not guessed by the thousand
        answer = refusal(
            scope,
            "This page asks for a name and a password; an API key is both, as name:password.",
            401,
            {"WWW-Authenticate": 'Basic realm="SpecDecodes", charset="UTF-8"'},
        )
        await answer(scope, receive, send)
