"""Measures the page on a scripted engine: `python -m tests.browser.measure_page [--runs N]`.

First paint and weight; frames while 2,000 tokens with trees of 64 nodes stream; a walk over the
steps; frames while the map of that run is zoomed and moved; and what many runs in a row leave
behind in the page and in the server. Times hold for the machine that draws, without a graphics
card where Chromium has none.
"""

import argparse
import itertools
import sys
from typing import Any

import psutil
from playwright.sync_api import CDPSession, Page, expect, sync_playwright

from tests.app.scripted_engine import ScriptedEngine
from tests.browser.served import serve
from tests.browser.test_page_chat import ask, limit
from tests.chromium import LAUNCH_FLAGS, find_chromium

SIZE = {"width": 1600, "height": 1000}
PATIENCE_MS = 300_000
NUM_TOKENS = 2000
# A branch of four nodes and thirty of two.
WIDTH = 31
STEP_S = 0.02
WATCH_FRAMES = """() => {
  window.frames_ms = [];
  const tick = (now) => { window.frames_ms.push(now); window.watch = requestAnimationFrame(tick); };
  window.watch = requestAnimationFrame(tick);
}"""
FRAMES = "() => { cancelAnimationFrame(window.watch); return window.frames_ms; }"
FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
WEIGHT = """() => performance.getEntriesByType('resource')
  .concat(performance.getEntriesByType('navigation'))
  .reduce((sum, entry) => sum + (entry.encodedBodySize || 0), 0)"""
# Work of the page for one step, without the wait for the next frame.
SCRUB = """() => {
  const times = [];
  for (let i = 0; i < 100; i++) {
    const before = performance.now();
    document.activeElement.dispatchEvent(
      new KeyboardEvent('keydown', {key: 'ArrowLeft', code: 'ArrowLeft', bubbles: true}));
    document.body.getBoundingClientRect();
    times.push(performance.now() - before);
  }
  return times.sort((a, b) => a - b);
}"""

MAP_FRAMES = """async () => {
  const place = document.querySelector(".map-place");
  const box = place.getBoundingClientRect();
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 3];
  const at = (dx) => ({clientX: x + dx, clientY: y, bubbles: true, cancelable: true, view: window});
  const wheel = (deltaY) => place.dispatchEvent(new WheelEvent("wheel", {...at(0), deltaY}));
  const times = [];
  let before = await new Promise(requestAnimationFrame);
  const next = async () => {
    const now = await new Promise(requestAnimationFrame);
    times.push(now - before);
    before = now;
  };
  for (let i = 0; i < 80; i++) { wheel(-50); await next(); }
  place.dispatchEvent(new MouseEvent("mousedown", at(0)));
  for (let i = 0; i < 60; i++) {
    window.dispatchEvent(new MouseEvent("mousemove", at(-8 * i)));
    await next();
  }
  window.dispatchEvent(new MouseEvent("mouseup", at(-480)));
  for (let i = 0; i < 80; i++) { wheel(50); await next(); }
  return times;
}"""


def main(arguments: list[str] | None = None) -> int:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="runs in a row")
    num_runs = parser.parse_args(arguments).runs
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_chromium(), args=LAUNCH_FLAGS)
        with serve(ScriptedEngine(step_s=STEP_S, width=WIDTH)) as served:
            page = _opened(chromium, served.address)
            _report_paint(page)
            _report_stream(page)
            page.close()
        with serve(ScriptedEngine(width=WIDTH)) as served:
            page = _opened(chromium, served.address)
            _report_runs(page, num_runs)
        chromium.close()
    return 0


def _opened(chromium: Any, address: str) -> Page:
    page: Page = chromium.new_page(viewport=SIZE)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.wait_for_selector(".welcome")
    return page


def _report_paint(page: Page) -> None:
    print(f"first contentful paint: {page.evaluate(FIRST_PAINT) / 1e3:.2f} s")
    print(f"page weight: {page.evaluate(WEIGHT) / 1e6:.2f} MB")


def _report_stream(page: Page) -> None:
    limit(page, NUM_TOKENS)
    page.evaluate(WATCH_FRAMES)
    ask(page, "Stream")
    _ended(page, 0)
    frames = page.evaluate(FRAMES)
    gaps = [after - before for before, after in itertools.pairwise(frames)]
    quarter = len(gaps) // 4
    for name, part in (("first", gaps[:quarter]), ("last", gaps[-quarter:])):
        late = sum(gap > 34 for gap in part)
        print(
            f"frames/s in the {name} quarter of {NUM_TOKENS} tokens: "
            f"{1e3 * len(part) / sum(part):.1f}, {late} of {len(part)} later than two frames, "
            f"longest {max(part):.0f} ms"
        )
    page.locator(".strip .token").last.click()
    times = page.evaluate(SCRUB)
    print(f"one step of a walk: median {times[50]:.1f} ms, 95% {times[95]:.1f} ms")
    page.get_by_role("button", name="Run map").click()
    _report_map(page, "in its place")
    page.get_by_role("button", name="Enlarge over the page").click()
    _report_map(page, "over the page")


def _report_map(page: Page, where: str) -> None:
    """Zooms from the whole run to one step, moves along it, and zooms back, a change a frame."""
    times = page.evaluate(MAP_FRAMES)
    print(
        f"map of the run {where}: {1e3 * len(times) / sum(times):.1f} frames/s of {len(times)}, "
        f"median {sorted(times)[len(times) // 2]:.1f} ms, longest {max(times):.0f} ms"
    )


def _report_runs(page: Page, num_runs: int) -> None:
    tools = page.context.new_cdp_session(page)
    limit(page, 100)
    for chat in ("first", "second"):
        for number in range(num_runs):
            ask(page, f"Run {number}")
            _ended(page, number)
            if number + 1 in (1, num_runs // 2, num_runs):
                print(f"{chat} chat, after {number + 1} runs: {_memory(tools)}")
        page.click("#clear")
        expect(page.locator(".turn")).to_have_count(0)
        print(f"{chat} chat cleared: {_memory(tools)}")


def _ended(page: Page, turn: int) -> None:
    status = page.locator(".turn").nth(turn).locator(".answer-status")
    expect(status).to_contain_text("token limit", timeout=PATIENCE_MS)


def _memory(tools: CDPSession) -> str:
    tools.send("HeapProfiler.collectGarbage")
    heap = tools.send("Runtime.getHeapUsage")["usedSize"]
    nodes = tools.send("Memory.getDOMCounters")["nodes"]
    server = psutil.Process().memory_info().rss
    return f"page {heap / 1e6:.1f} MB and {nodes} nodes, server {server / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
