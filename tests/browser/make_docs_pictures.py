"""The README's animation and a picture a tab: `python -m tests.browser.make_docs_pictures docs`.

All of them are the real page on the default model. Frames are taken step by step: the engine's steps
reach the page when they are let through, and the race runs on a clock of ours, so that a slow machine
makes the same film as a quick one. The numbers in it are what this machine measured meanwhile.
"""

import argparse
import io
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.engines.engine_slot import EngineKey, EngineLike, Progress
from app.engines.engines import load_engine
from core.config import DEFAULT_TARGET
from core.trace.events import Committed, Event
from presets.gallery import find_preset
from tests.browser.served import serve_pool
from tests.browser.test_page_chat import choose, limit
from tests.browser.test_page_tabs import show
from tests.chromium import LAUNCH_FLAGS, find_chromium

_SIZE = {"width": 1280, "height": 800}
_PATIENCE_MS = 600_000
_MOST_FILM_BYTES = 3_000_000
_MOST_PICTURE_BYTES = 150_000
# Of a fixed size, so that the tree is the same on every machine.
_PRESET = "eagle-tree"
# Partly quoted, so that lookup has something to find.
_COMPARED = find_preset("lookup-or-head").prompt
_MODES = ("ngram", "sd-eagle", "hybrid")
_NUM_TOKENS = 96
# How long a frame is seen: of a step, and of the race.
_STEP_MS = 90
_RACE_FRAME_MS = 70
_NUM_RACE_FRAMES = 60
_BACK_TO_START_MS = 2500


class Frame(NamedTuple):
    """A picture of the film."""

    png: bytes
    duration_ms: int


class Gate:
    """Lets steps through: all of them, or one at a time."""

    def __init__(self) -> None:
        self._is_open = threading.Event()
        self._is_open.set()
        self._tickets = threading.Semaphore(0)

    def close(self) -> None:
        self._is_open.clear()

    def open(self) -> None:
        self._is_open.set()
        self._tickets.release()

    def let_one_through(self) -> None:
        self._tickets.release()

    def wait(self) -> None:
        """Returns when a step may go on."""
        if not self._is_open.is_set():
            self._tickets.acquire()


class SteppedEngine:
    """An engine whose steps come through a gate; all else is the engine's."""

    def __init__(self, engine: EngineLike, gate: Gate):
        self._engine = engine
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, *given: Any, **more: Any) -> Iterator[Event]:
        for event in self._engine.run(*given, **more):
            if isinstance(event, Committed):
                self._gate.wait()
            yield event


def main(arguments: list[str] | None = None) -> int:
    """Takes all pictures, or some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where they go: docs")
    parser.add_argument("--only", choices=[*_PICTURES, "film"], help="one of them")
    options = parser.parse_args(arguments)
    expect.set_options(timeout=_PATIENCE_MS)
    gate = Gate()

    def load(key: EngineKey, progress: Progress) -> Any:
        return SteppedEngine(load_engine(key, progress), gate)

    with serve_pool(load, DEFAULT_TARGET) as served, sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_chromium(), args=LAUNCH_FLAGS)
        for name, bring_about in _PICTURES.items():
            if options.only in (name, None):
                page = _opened(chromium, served.address)
                bring_about(page)
                page.wait_for_timeout(500)
                _save_picture(page.screenshot(), options.folder / f"{name}.webp")
                page.context.close()
        if options.only in ("film", None):
            page = _opened(chromium, served.address)
            _save_film(list(_film(page, gate)), options.folder / "page.webp")
        chromium.close()
    return 0


def _opened(chromium: Browser, address: str) -> Page:
    context = chromium.new_context(viewport=_SIZE, color_scheme="light")
    context.set_default_timeout(_PATIENCE_MS)
    page = context.new_page()
    page.add_init_script("localStorage.setItem('specdecodes-tour', 'seen')")
    page.clock.install()
    page.goto(address)
    page.wait_for_selector(".welcome")
    expect(page.locator("#model-status")).to_contain_text("is ready")
    return page


def _answered(page: Page) -> None:
    show(page, "Presets")
    page.click(f"[data-preset={_PRESET}]")
    _select_a_good_step(page)


def _select_a_good_step(page: Page) -> None:
    expect(page.locator(".turn .answer-status")).to_contain_text(re.compile(r"· \d+ tokens"))
    page.locator(".strip .token.accepted").nth(20).click()
    expect(page.locator("#token-card")).to_be_visible()


def _compared(page: Page) -> None:
    _compare(page)
    expect(page.locator(".comparison-figures figure .main-svg:visible").nth(1)).to_be_visible()


def _compare(page: Page) -> None:
    limit(page, _NUM_TOKENS)
    show(page, "Compare")
    # A preset leaves its settings in the list.
    page.click("#comparison-reset")
    expect(page.locator(".entries li")).to_have_count(1)
    for mode in _MODES:
        choose(page, "mode", mode)
        page.click("#comparison-add")
        expect(page.locator(".entries")).to_contain_text(mode)
    page.fill("#comparison-prompt textarea", _COMPARED)
    page.click("#comparison-run")
    expect(page.locator(".comparison-table")).to_be_visible()
    page.click("[aria-label=Settings]")


def _measured(page: Page) -> None:
    choose(page, "mode", "sd-eagle")
    limit(page, _NUM_TOKENS)
    show(page, "Lab")
    page.click("#lab-run")
    expect(page.locator(".lab-map .heatmaplayer image")).to_be_visible()


def _batched(page: Page) -> None:
    limit(page, _NUM_TOKENS)
    show(page, "Batch")
    page.click("#batch-run")
    expect(page.locator(".batch-total")).to_contain_text("4 of 4 rows done")


def _models(page: Page) -> None:
    show(page, "Models")
    expect(page.locator("#models-view .drafts")).to_be_visible()


_PICTURES: dict[str, Callable[[Page], None]] = {
    "playground": _answered,
    "compare": _compared,
    "lab": _measured,
    "batch": _batched,
    "models": _models,
}


def _film(page: Page, gate: Gate) -> Iterator[Frame]:
    """A preset is chosen, its answer is written, a token shows its tree, and a race."""
    page.click("[aria-label=Settings]")
    show(page, "Presets")
    yield Frame(page.screenshot(), 1500)
    gate.close()
    page.click(f"[data-preset={_PRESET}]")
    expect(page.locator(".turn .answer-status")).to_be_visible()
    shown = 0
    while True:
        gate.let_one_through()
        page.wait_for_function(
            "shown => document.querySelectorAll('.strip .token').length > shown"
            " || /· \\d+ tokens/.test(document.querySelector('.answer-status').textContent)",
            arg=shown,
        )
        tokens = page.locator(".strip .token").count()
        if tokens == shown:
            break
        shown = tokens
        yield Frame(page.screenshot(), _STEP_MS)
    gate.open()
    yield Frame(page.screenshot(), 700)
    _select_a_good_step(page)
    page.wait_for_timeout(400)
    yield Frame(page.screenshot(), 3000)
    page.click("[aria-label=Settings]")
    _compared(page)
    page.locator(".race").evaluate("node => node.scrollIntoView({ block: 'end' })")
    yield from _race(page)


def _race(page: Page) -> Iterator[Frame]:
    seconds = float(
        (page.locator(".race .panel-head .summary").text_content() or "").removesuffix(" s")
    )
    page.wait_for_timeout(500)
    yield Frame(page.screenshot(), 2000)
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    page.locator(".race button").evaluate("node => node.click()")
    for _ in range(_NUM_RACE_FRAMES):
        page.clock.run_for(int(1e3 * seconds / _NUM_RACE_FRAMES) + 1)
        yield Frame(page.screenshot(), _RACE_FRAME_MS)
    # The clock in the page's words has one digit.
    page.clock.run_for(200)
    yield Frame(page.screenshot(), _BACK_TO_START_MS)


def _save_picture(png: bytes, path: Path) -> None:
    """As sharp as the bytes allow."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in range(90, 30, -5):
        image.save(path, quality=quality, method=6)
        if path.stat().st_size <= _MOST_PICTURE_BYTES:
            return


def _save_film(frames: list[Frame], path: Path) -> None:
    images = [Image.open(io.BytesIO(frame.png)).convert("RGB") for frame in frames]
    for quality in range(80, 20, -10):
        images[0].save(
            path,
            save_all=True,
            append_images=images[1:],
            duration=[frame.duration_ms for frame in frames],
            loop=0,
            quality=quality,
            method=4,
            minimize_size=True,
        )
        if path.stat().st_size <= _MOST_FILM_BYTES:
            break
    print(f"{path}: {len(frames)} frames, {path.stat().st_size / 1e6:.2f} MB, quality {quality}")


if __name__ == "__main__":
    sys.exit(main())
