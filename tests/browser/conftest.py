"""A real Chromium, and pages that watch for everything that goes wrong on them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.app.scripted_engine import ScriptedEngine
from tests.browser.served import Served, serve

# How long a busy machine may take; nothing is asserted of the time itself.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)
KNOWN_ERRORS = (
    # What the server refuses is told on the page, which the test reads there.
    "Failed to load resource: the server responded with a status of 400 (Bad Request)",
    # What Gradio says of a stream that is cut off when its page goes.
    "AbortError: signal is aborted",
    "Unexpected error Connection errored out",
)
WIDE = {"width": 1600, "height": 1000}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Opened:
    """A page with what went wrong on it; `close` asserts that nothing did."""

    def __init__(self, page: Page, address: str):
        self.page = page
        self.trouble: list[str] = []
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("dialog", lambda dialog: (self.trouble.append("dialog"), dialog.dismiss()))
        page.on("console", lambda line: self._hear(line.type, line.text, line.location["url"]))
        page.on("request", lambda request: self._check(request.url, address))
        page.goto(f"{address}/")
        page.wait_for_selector(".welcome")

    def _hear(self, kind: str, text: str, url: str) -> None:
        if kind == "error" and not text.startswith(KNOWN_ERRORS):
            self.trouble.append(f"{text} {url}")

    def _check(self, url: str, address: str) -> None:
        if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:")):
            self.trouble.append(f"request to {url}")


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address in a context of its own; errors and outside requests fail the test."""
    contexts: list[BrowserContext] = []
    pages: list[Opened] = []

    def open_one(
        served: Served,
        *,
        viewport: dict[str, int] = WIDE,
        color_scheme: str = "light",
        has_touch: bool = False,
    ) -> Page:
        context = browser.new_context(
            viewport=viewport,
            color_scheme=color_scheme,
            has_touch=has_touch,
            accept_downloads=True,
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        pages.append(Opened(context.new_page(), served.address))
        return pages[-1].page

    yield open_one
    for context in contexts:
        context.close()
    assert [trouble for opened in pages for trouble in opened.trouble] == []


@pytest.fixture(scope="session")
def scripted() -> Iterator[Served]:
    """The page on an engine that writes at once."""
    with serve(ScriptedEngine(unavailable={"layer-skip": "layer-skip needs other layers."})) as it:
        yield it


@pytest.fixture(scope="session")
def slow() -> Iterator[Served]:
    """The page on an engine that takes a while for each step."""
    with serve(ScriptedEngine(step_s=0.03)) as it:
        yield it
