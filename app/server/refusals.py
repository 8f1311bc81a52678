"""What is refused, in words: as an error of OpenAI's interface where that was asked, else as text."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from app.root_path import page_path
from core.runtime.strict_json import dumps

API_PATH = "/v1/"
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}


def error_body(sentence: str, status: int, param: str | None = None) -> dict[str, Any]:
    """How OpenAI's interface tells of an error; `param` is the field that it is about."""
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    return {
        "error": {"message": sentence, "type": kind, "param": param, "code": _CODES.get(status)}
    }


def api_refusal(
    sentence: str, status: int, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of that interface with an error."""
    body = dumps(error_body(sentence, status, param))
    return Response(body, status, headers, media_type="application/json")


def refusal(
    scope: Scope, sentence: str, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that refuses a request, in the form of what it asked for."""
    if page_path(scope).startswith(API_PATH):
        return api_refusal(sentence, status, headers=headers)
    return PlainTextResponse(sentence, status, headers)
