"""Takes the README's picture of the real page: `python -m tests.browser.make_picture FILE.png`."""

import argparse
import os
import re
import sys
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from playwright.sync_api import Page, expect, sync_playwright

from app.engines.engines import load_engine
from core.config import DEFAULT_TARGET
from tests.browser.served import serve_pool
from tests.chromium import LAUNCH_FLAGS, find_chromium

SIZE = {"width": 1600, "height": 1000}
PATIENCE_MS = 300_000
PRESET = "eagle-tree"


def main(arguments: list[str] | None = None) -> int:
    """Asks the default model a question, selects a step, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="picture to write, a .png")
    file = parser.parse_args(arguments).file
    with serve_pool(load_engine, DEFAULT_TARGET) as served, sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_chromium(), args=LAUNCH_FLAGS)
        page = chromium.new_page(viewport=SIZE, color_scheme="light")
        page.add_init_script("localStorage.setItem('specdecodes-tour', 'seen')")
        page.goto(served.address)
        _show_a_good_step(page)
        page.screenshot(path=file)
        chromium.close()
    return 0


def _show_a_good_step(page: Page) -> None:
    page.get_by_role("button", name="Presets", exact=True).click()
    page.locator(f"[data-preset={PRESET}]").click()
    expect(page.locator(".turn .answer-status")).to_contain_text(
        re.compile(r"· \d+ tokens"), timeout=PATIENCE_MS
    )
    page.locator(".strip .token.accepted").nth(30).click()
    expect(page.locator("#token-card")).to_be_visible()


if __name__ == "__main__":
    sys.exit(main())
