"""Pictures of every tab in every state, to be looked at: `python -m tests.browser.make_pictures FOLDER`.

Each state is photographed at three widths, in light and in dark. What axe-core finds serious there is
printed, and so is what stands beyond the edge. Answers are scripted, so that all states come at once.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from app.engines.engine_slot import EngineKey, Progress
from tests.app.scripted_engine import ScriptedEngine, load_scripted
from tests.browser.accessible import beyond_the_edge, serious_findings
from tests.browser.served import ServedPage, serve_pool
from tests.browser.test_page_chat import ask, ended, limit
from tests.browser.test_page_tabs import show
from tests.chromium import LAUNCH_FLAGS, find_chromium

SIZES = ((390, 844), (1440, 900), (2560, 1440))
_PATIENCE_MS = 60_000
_TALLEST = 5000
_WHOLE_HEIGHT = """() => {
  const tab = [...document.querySelectorAll(".tab")].find((node) => node.checkVisibility());
  return Math.ceil(tab.getBoundingClientRect().top + tab.scrollHeight);
}"""
_ENGINES = {
    "quick": ScriptedEngine(unavailable={"layer-skip": "layer-skip needs other layers."}),
    "slow": ScriptedEngine(step_s=0.05),
    "broken": ScriptedEngine(fail_at=6),
}


class State(NamedTuple):
    """A tab as it can be met."""

    name: str
    """The tab, a hyphen, and what is going on."""
    engine: str
    """Of `_ENGINES`."""
    bring_about: Callable[[Page], None]
    before_each: Callable[[Page], None] = lambda page: None
    """Before every picture: what a change of the window or the colours undoes."""


def _shown(tab: str) -> Callable[[Page], None]:
    return lambda page: show(page, tab)


def _answering(page: Page) -> None:
    limit(page, 4000)
    ask(page, "Explain speculative decoding.")
    expect(page.locator(".strip .token").nth(60)).to_be_visible()


def _answered(page: Page) -> None:
    limit(page, 120)
    ask(page, "Explain speculative decoding.")
    ended(page)
    page.locator("label.switch").click()
    page.locator(".strip .token.recovered").nth(3).click()
    expect(page.locator(".tree .node.recovered")).to_be_visible()


def _explained(page: Page) -> None:
    _answered(page)
    page.locator("#stage").get_by_role("button", name="Explain").click()
    expect(page.locator(".explain").first).to_be_visible()
    for _ in range(4):
        page.get_by_role("button", name="Next part").click()


def _failed(page: Page) -> None:
    limit(page, 120)
    ask(page, "Explain speculative decoding.")
    expect(page.locator(".answer-status")).to_contain_text("broke")


def _comparing(page: Page) -> None:
    limit(page, 400)
    show(page, "Compare")
    page.click("[data-set=drafters]")
    expect(page.locator(".entries li")).to_have_count(7)
    page.click("#comparison-run")
    expect(page.locator(".entries [data-phase=running]")).to_contain_text("tokens")


def _compared(page: Page) -> None:
    limit(page, 60)
    show(page, "Compare")
    page.click("[data-set=all]")
    expect(page.locator(".left-out")).to_be_visible()
    page.click("#comparison-run")
    expect(page.locator(".comparison-figures .main-svg").first).to_be_visible()


def _comparison_failed(page: Page) -> None:
    show(page, "Compare")
    page.click("[data-set=bits]")
    expect(page.locator(".entries li")).to_have_count(5)
    page.click("#comparison-run")
    expect(page.locator("#compare-view .notice")).to_be_visible()


def _batch(num_tokens: int, waits_for: str) -> Callable[[Page], None]:
    def bring_about(page: Page) -> None:
        limit(page, num_tokens)
        show(page, "Batch")
        page.click("#batch-run")
        expect(page.locator(waits_for).first).to_be_visible()

    return bring_about


def _lab(num_tokens: int, waits_for: str) -> Callable[[Page], None]:
    def bring_about(page: Page) -> None:
        limit(page, num_tokens)
        show(page, "Lab")
        page.click("#lab-run")
        expect(page.locator(waits_for).first).to_be_visible()

    return bring_about


def _kept(page: Page) -> None:
    limit(page, 20)
    for turn, text in enumerate(("One", "Two")):
        ask(page, text)
        ended(page, turn)
    show(page, "Runs")
    expect(page.locator("tr[data-run]").nth(1)).to_be_visible()


def _not_opened(page: Page) -> None:
    show(page, "Runs")
    bad = {"name": "bad.jsonl", "mimeType": "text/plain", "buffer": b'{"kind": "nonsense"}\n'}
    page.set_input_files("#open-trace", bad)
    expect(page.locator("#runs-view .notice")).to_be_visible()


def _load(name: str, waits_for: str) -> Callable[[Page], None]:
    def bring_about(page: Page) -> None:
        show(page, "Models")
        page.get_by_label("Target", exact=True).fill(name)
        page.get_by_role("button", name="Load", exact=True).click()
        expect(page.locator(waits_for).first).to_be_visible()

    return bring_about


def _settings(page: Page) -> None:
    """On a phone they are a panel, which closes when something else is clicked."""
    panel = page.locator("#settings")
    if not panel.is_visible():
        page.get_by_role("button", name="Settings").click()
    expect(panel).to_be_visible()


def _shortcuts(page: Page) -> None:
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(page.locator("dialog.shortcuts")).to_be_visible()


STATES = (
    State("playground-empty", "quick", _shown("Playground")),
    State("playground-busy", "slow", _answering),
    State("playground-full", "quick", _answered),
    State("playground-explained", "quick", _explained),
    State("playground-failed", "broken", _failed),
    State("playground-settings", "quick", _shown("Playground"), _settings),
    State("playground-shortcuts", "quick", _shortcuts),
    State("compare-empty", "quick", _shown("Compare")),
    State("compare-busy", "slow", _comparing),
    State("compare-full", "quick", _compared),
    State("compare-failed", "broken", _comparison_failed),
    State("batch-empty", "quick", _shown("Batch")),
    State("batch-busy", "slow", _batch(2000, ".batch-rows .token")),
    State("batch-full", "quick", _batch(60, ".batch-total:has-text('4 of 4 rows done')")),
    State("batch-failed", "broken", _batch(60, ".batch-rows :text('broke')")),
    State("lab-empty", "quick", _shown("Lab")),
    State("lab-busy", "slow", _lab(2000, ".is-measuring")),
    State("lab-full", "quick", _lab(60, ".lab-map .heatmaplayer image")),
    State("lab-failed", "broken", _lab(60, "#lab-view :text('broke')")),
    State("runs-empty", "quick", _shown("Runs")),
    State("runs-full", "quick", _kept),
    State("runs-failed", "quick", _not_opened),
    State("presets-full", "quick", _shown("Presets")),
    State("models-full", "quick", _shown("Models")),
    State("models-busy", "quick", _load("large", "#models-view .gauge")),
    State("models-failed", "quick", _load("missing", "#models-view .notice")),
)


def main(arguments: list[str] | None = None) -> int:
    """Takes the pictures; the status is 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--states", default="", help="only those whose names begin so")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=_PATIENCE_MS)
    num_found = 0
    with ExitStack() as stack:
        served = {name: stack.enter_context(_serve(engine)) for name, engine in _ENGINES.items()}
        driver = stack.enter_context(sync_playwright())
        chromium = driver.chromium.launch(executable_path=find_chromium(), args=LAUNCH_FLAGS)
        stack.callback(chromium.close)
        for state in STATES:
            if state.name.startswith(options.states):
                for line in _photograph(chromium, served[state.engine], state, options.folder):
                    print(line, flush=True)
                    num_found += 1
    return 1 if num_found else 0


@contextmanager
def _serve(engine: ScriptedEngine) -> Iterator[ServedPage]:
    """With a target named large, which takes a while to load, and one named missing."""
    load_at_once = load_scripted(engine)

    def load(key: EngineKey, progress: Progress) -> ScriptedEngine:
        if key.target == "large":
            for done in range(600):
                progress("reading weights", done * 10**6, 600 * 10**6)
                time.sleep(0.1)
        return load_at_once(key, progress)

    with serve_pool(load, "scripted") as page:
        yield page


def _photograph(chromium: Browser, served: ServedPage, state: State, folder: Path) -> Iterator[str]:
    """Brings the state about once, and changes window and colours; tells what is found."""
    width, height = SIZES[1]
    context = chromium.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(_PATIENCE_MS)
    page = context.new_page()
    page.goto(served.address)
    page.wait_for_selector(".welcome")
    try:
        state.bring_about(page)
    except (AssertionError, Error) as error:
        yield f"{state.name}: it cannot be brought about: {str(error).splitlines()[0]}"
    for scheme in ("light", "dark"):
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(300)  # figures are drawn anew for the width
            # What a tab scrolls is to be seen as well.
            whole = page.evaluate(_WHOLE_HEIGHT)
            page.set_viewport_size({"width": width, "height": max(height, min(whole, _TALLEST))})
            state.before_each(page)
            name = f"{state.name}-{width}-{scheme}"
            page.screenshot(path=folder / f"{name}.png")
            for found in (*serious_findings(page), *beyond_the_edge(page)):
                yield f"{name}: {found}"
        page.evaluate("document.querySelector('[aria-label=\"Light or dark\"]').click()")
    context.close()
    for record in served.handlers.store.runs:
        record.stop.set()
    served.handlers.pool.cancel()


if __name__ == "__main__":
    sys.exit(main())
