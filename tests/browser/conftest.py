"""A real Chromium, and pages that watch for everything that goes wrong on them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, ViewportSize, expect

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
WIDE: ViewportSize = {"width": 1600, "height": 1000}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Opened:
    """A page with what goes wrong on it while it is watched."""

    def __init__(self, page: Page, address: str, brings_about: tuple[str, ...]):
        self.page = page
        self._known = (*KNOWN_ERRORS, *brings_about)
        self.address = address
        self.trouble: list[str] = []
        self._listeners: dict[Any, Callable[[Any], None]] = {
            "pageerror": lambda error: self.trouble.append(str(error)),
            "dialog": lambda dialog: (self.trouble.append("dialog"), dialog.dismiss()),
            "console": lambda line: self._hear(line.type, line.text, line.location["url"]),
            "request": lambda request: self._check(request.url, address),
        }
        for event, listener in self._listeners.items():
            page.on(event, listener)
        page.goto(f"{address}/")
        page.wait_for_selector(".welcome")

    def leave(self) -> None:
        """What the page does from here on is nobody's trouble."""
        for event, listener in self._listeners.items():
            self.page.remove_listener(event, listener)

    def _hear(self, kind: str, text: str, url: str) -> None:
        if kind == "error" and not text.startswith(self._known):
            self.trouble.append(f"{text} {url}")

    def _check(self, url: str, address: str) -> None:
        if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:")):
            self.trouble.append(f"request to {url}")


OpenPage = Callable[..., Page]


class FirstPage:
    """The page that a test opens first. It is left empty for the next test: in the same window, and with
    the scripts at hand, a page takes half the time."""

    def __init__(self, browser: Browser):
        self._browser = browser
        self._page: Page | None = None

    def take(self) -> Page:
        """An empty page of a visitor whom nobody knows."""
        if self._page is None:
            self._page = new_context(self._browser).new_page()
        return self._page

    def give_back(self, address: str) -> None:
        """Forgets what the last test left; a page where that does not succeed is not used again."""
        page, self._page = self.take(), None
        try:
            for other in page.context.pages:
                if other is not page:
                    other.close()
            page.unroute_all(behavior="ignoreErrors")
            page.goto(f"{address}/healthz")
            page.evaluate("localStorage.clear(); sessionStorage.clear();")
            page.goto("about:blank")
            page.mouse.move(0, 0)
            page.context.clear_cookies()
            self._page = page
        except Error:  # it was closed, or its server was
            page.context.close()


def new_context(browser: Browser, *, has_touch: bool = False) -> BrowserContext:
    """A visitor of its own."""
    context = browser.new_context(has_touch=has_touch, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(PATIENCE_MS)
    return context


@pytest.fixture(scope="session")
def first_page(browser: Browser) -> FirstPage:
    return FirstPage(browser)


@pytest.fixture
def open_page(browser: Browser, first_page: FirstPage) -> Iterator[OpenPage]:
    """Opens an address as a visitor of its own; errors and outside requests fail the test, but for
    errors that begin as those that it brings about."""
    contexts: list[BrowserContext] = []
    opened: list[Opened] = []

    def open_one(
        served: Served,
        *,
        viewport: ViewportSize = WIDE,
        color_scheme: Literal["light", "dark"] = "light",
        has_touch: bool = False,
        brings_about: tuple[str, ...] = (),
    ) -> Page:
        if opened or has_touch:
            contexts.append(new_context(browser, has_touch=has_touch))
            page = contexts[-1].new_page()
        else:
            page = first_page.take()
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=color_scheme)
        opened.append(Opened(page, served.address, brings_about))
        return page

    yield open_one
    for one in opened:
        one.leave()
    for context in contexts:
        context.close()
    if opened and opened[0].page.context not in contexts:
        first_page.give_back(opened[0].address)
    assert [trouble for one in opened for trouble in one.trouble] == []


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
