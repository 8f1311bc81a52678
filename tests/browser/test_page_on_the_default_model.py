"""The page from end to end on the embedded default model."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect

from app.engines.engines import load_engine
from core.config import DEFAULT_TARGET
from tests.browser.conftest import OpenPage
from tests.browser.served import ServedPage, serve_pool
from tests.browser.test_page_chat import ask, choose, limit, unfold
from tests.browser.test_page_instruments import saved
from tests.browser.test_page_looks import BRIGHTNESS, NARROW
from tests.browser.test_page_tabs import show
from visualize.columns import COLUMNS

pytestmark = pytest.mark.model

# Loading, measuring the cost of a forward and answering, on a machine that does other things too.
LONG_MS = 180_000
QUOTE = "Repeat exactly: the cat sat on the mat, the cat sat on the mat, the cat sat on the mat."


@pytest.fixture(scope="module")
def served() -> Iterator[ServedPage]:
    num_threads = torch.get_num_threads()
    with serve_pool(load_engine, DEFAULT_TARGET) as page:
        yield page
    torch.set_num_threads(num_threads)  # the page leaves a core to the browser


def answered(page: Page, turn: int = 0) -> None:
    status = page.locator(".turn").nth(turn).locator(".answer-status")
    expect(status).to_contain_text(re.compile(r"· \d+ tokens"), timeout=LONG_MS)


def test_an_answer_is_watched_stopped_inspected_and_exported(
    served: ServedPage, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(served)
    # On a busy machine the measured costs may say that no draft pays.
    unfold(page)
    page.check("#setting-hybrid-fixed-size input")
    limit(page, 48)
    ask(page, QUOTE)
    expect(page.locator(".strip .token").first).to_be_visible(timeout=LONG_MS)
    answered(page)
    assert page.locator(".strip .token.accepted").count() > 0
    count = page.locator(".strip .token").count()
    page.locator(".strip .token.accepted").first.click()
    expect(page.locator(".tree .node.selected")).to_be_visible()
    expect(page.locator("#token-card ol li")).to_have_count(5)
    path = saved(page, "tokens.csv", tmp_path, mode="hybrid")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS["tokens"])
    assert len(rows) == count

    choose(page, "mode", "naive")
    limit(page, 2000)
    ask(page, "Tell a long story about a lighthouse.")
    expect(page.locator(".turn").nth(1).locator(".token").nth(3)).to_be_visible(timeout=LONG_MS)
    page.click("#stop")
    expect(page.locator(".answer-status").nth(1)).to_contain_text("Stopped")
    assert page.locator(".turn").nth(1).locator(".token:not(.plain)").count() == 0


def test_a_mode_that_drafts_with_the_target_itself_runs_from_the_page(
    served: ServedPage, open_page: OpenPage
) -> None:
    page = open_page(served)
    choose(page, "mode", "share-sd")
    expect(page.locator("#setting-share-sd-bits")).to_be_visible()
    unfold(page)
    page.check("#setting-share-sd-fixed-size input")
    limit(page, 24)
    ask(page, "Why is the sky blue?")
    answered(page)
    assert page.locator(".strip .token.accepted").count() > 0
    expect(page.locator("[data-figure=acceptance]")).to_contain_text("%")


def test_a_draft_model_that_fits_is_suggested_and_used(
    served: ServedPage, open_page: OpenPage
) -> None:
    page = open_page(served)
    show(page, "Models")
    expect(page.locator("#models-view .cards")).to_contain_text("works offline", timeout=LONG_MS)
    drafts = page.locator("#models-view .drafts")
    expect(drafts).to_contain_text("the small model that is shipped for it", timeout=LONG_MS)
    drafts.get_by_role("button", name="Use it").first.click()
    expect(page.locator("#setting-mode input")).to_have_value("sd-classic")
    expect(page.locator("#setting-draft input")).to_have_value("")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_shows_the_same_in_light_and_dark(
    served: ServedPage, open_page: OpenPage, scheme: str
) -> None:
    page = open_page(served, viewport=NARROW, color_scheme=scheme)
    ask(page, '<img src=x onerror="alert(1)"> Repeat this.')
    answered(page)
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    assert (page.evaluate(BRIGHTNESS, "#chat-column") > 128) == (scheme == "light")
