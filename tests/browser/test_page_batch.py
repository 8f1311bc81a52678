"""The batch tab: rows that grow side by side, stop together, and are kept."""

from playwright.sync_api import Page, expect

from tests.app.scripted_engine import ScriptedEngine
from tests.browser.conftest import OpenPage
from tests.browser.served import Served, serve
from tests.browser.test_page_chat import EVIL, limit
from tests.browser.test_page_looks import NARROW
from tests.browser.test_page_tabs import show


def open_batch(page: Page, num_tokens: int, prompts: str) -> Page:
    limit(page, num_tokens)
    show(page, "Batch")
    page.fill("#batch-prompts textarea", prompts)
    return page


def test_every_prompt_has_a_row_that_fills(scripted: Served, open_page: OpenPage) -> None:
    page = open_batch(open_page(scripted), 30, "One\nTwo\nThree")
    expect(page.locator("#batch-view .promise li")).to_have_count(4)
    page.click("#batch-run")
    expect(page.locator("#batch-view .promise")).to_be_hidden()
    expect(page.locator(".batch-total")).to_contain_text("3 of 3 rows done · 90 tokens")
    rows = page.locator(".batch-rows .lane")
    assert rows.locator("header strong").all_text_contents() == ["One", "Two", "Three"]
    for place in range(3):
        expect(rows.nth(place).locator(".token")).to_have_count(30)
        expect(rows.nth(place).locator(".token.accepted").first).to_be_visible()
        expect(rows.nth(place).locator("header .summary")).to_contain_text("30 tokens · τ")
    expect(page.locator("#batch-run")).to_be_visible()
    show(page, "Runs")
    expect(page.locator("tr[data-run]")).to_have_count(3)


def test_a_stop_ends_every_row_and_another_batch_takes_their_place(open_page: OpenPage) -> None:
    with serve(ScriptedEngine(step_s=0.02)) as served:
        page = open_batch(open_page(served), 4000, "One\nTwo")
        page.click("#batch-run")
        expect(page.locator(".batch-rows .token").nth(10)).to_be_visible()
        page.click("#batch-stop")
        expect(page.locator(".batch-total")).to_contain_text("2 of 2 rows done")
        for row in page.locator(".batch-rows header .summary").all():
            expect(row).to_contain_text("Stopped")
        page.fill("#batch-prompts textarea", "Only one")
        show(page, "Playground")
        limit(page, 12)
        show(page, "Batch")
        page.click("#batch-run")
        expect(page.locator(".batch-total")).to_contain_text("1 of 1 row done · 12 tokens")
        expect(page.locator(".batch-rows .lane")).to_have_count(1)


def test_bad_input_is_one_sentence_and_markup_stays_text(open_page: OpenPage) -> None:
    with serve(ScriptedEngine(EVIL)) as served:
        page = open_batch(open_page(served), 10, " \n ")
        page.click("#batch-run")
        expect(page.locator("#batch-view .notice")).to_contain_text("prompts")
        page.fill("#batch-prompts textarea", EVIL.strip())
        page.fill("#batch-size input", "99")
        page.click("#batch-run")
        expect(page.locator("#batch-view .notice")).to_contain_text("side by side is 99; give")
        page.fill("#batch-size input", "2")
        page.click("#batch-run")
        expect(page.locator(".batch-total")).to_contain_text("1 of 1 row done")
        expect(page.locator(".batch-rows header strong")).to_have_text(EVIL.strip())
        assert page.locator("#batch-view img").count() == 0


def test_rows_fit_a_narrow_page(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted, viewport=NARROW)
    show(page, "Batch")
    page.click("#batch-run")
    expect(page.locator(".batch-total")).to_contain_text("4 of 4 rows done")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
