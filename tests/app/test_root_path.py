"""Requests through a proxy that serves the page under a path."""

import asyncio
from typing import Any

import pytest

from app.root_path import RootPath, UnderRootPath, page_path, parse_root_path
from core.errors import InvalidSettingError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RootPath()),
        ("/", RootPath()),
        ("/demo", RootPath("/demo")),
        ("demo/", RootPath("/demo")),
        (" /a/b-c_d/ ", RootPath("/a/b-c_d")),
        ("https://example.org", RootPath("", "https", "example.org")),
        ("https://example.org:8443/demo/", RootPath("/demo", "https", "example.org:8443")),
        ("http://[::1]:8080/demo", RootPath("/demo", "http", "[::1]:8080")),
    ],
)
def test_a_root_path_is_a_path_or_a_url(text: str, expected: RootPath) -> None:
    assert parse_root_path(text) == expected


@pytest.mark.parametrize(
    "text",
    ["//example.org", "/a?b", "/a#b", "/a b", "/ä", "/a//b", "ftp://a/b", "https://", "/%2e",
     "http://[::1/x"],
)  # fmt: skip
def test_anything_else_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidSettingError, match="give a path such as"):
        parse_root_path(text)


def received(root: RootPath, path: str, **headers: str) -> dict[str, Any]:
    """What the page is asked for a request, or where it is sent instead."""
    seen: dict[str, Any] = {}

    async def page(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        seen["headers"] = {name.decode(): value.decode() for name, value in scope["headers"]}

    async def send(message: Any) -> None:
        seen.update({name.decode(): value.decode() for name, value in message.get("headers", ())})

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "scheme": "http", "headers": raw, "method": "GET"}
    asyncio.run(UnderRootPath(page, root)(scope, None, send))  # type: ignore[arg-type]
    return seen


@pytest.mark.parametrize("path", ["/healthz", "/demo/healthz"])
def test_the_proxy_may_take_the_path_away_or_leave_it(path: str) -> None:
    seen = received(RootPath("/demo"), path)
    assert (seen["root_path"], seen["path"], page_path(seen)) == (
        "/demo", "/demo/healthz", "/healthz",
    )  # fmt: skip


def test_a_path_that_only_begins_alike_is_the_pages_own() -> None:
    assert page_path(received(RootPath("/demo"), "/demonstration")) == "/demonstration"


def test_the_path_without_its_slash_leads_to_the_page() -> None:
    assert received(RootPath("/demo"), "/demo")["location"] == "/demo/"


@pytest.mark.parametrize(
    ("said", "root"),
    [
        ("/demo", "/demo"),
        ("/demo/, /outer", "/demo"),
        ("/", ""),
        ("", ""),
        ("//elsewhere.example", ""),
        ("https://elsewhere.example", ""),
        ('/"><script>', ""),
    ],
)
def test_a_proxy_may_say_itself_what_it_took_away(said: str, root: str) -> None:
    seen = received(RootPath(), "/config", x_forwarded_prefix=said)
    assert (seen["root_path"], seen["path"]) == (root, f"{root}/config")


def test_what_the_operator_said_counts_before_any_header() -> None:
    assert received(RootPath("/demo"), "/", x_forwarded_prefix="/other")["root_path"] == "/demo"


def test_a_whole_url_stands_for_host_and_scheme_as_well() -> None:
    root = RootPath("/demo", "https", "example.org")
    seen = received(
        root, "/", host="127.0.0.1:7860", x_forwarded_host="inner", x_forwarded_proto="http"
    )
    assert seen["scheme"] == "https"
    assert seen["headers"] == {"host": "example.org"}
