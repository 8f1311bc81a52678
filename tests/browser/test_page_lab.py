"""The lab: a prompt is measured once, and every control answers from it."""

from playwright.sync_api import Page, expect

from tests.app.scripted_engine import ScriptedEngine
from tests.browser.conftest import OpenPage
from tests.browser.served import Served, serve
from tests.browser.test_page_chat import limit
from tests.browser.test_page_looks import NARROW
from tests.browser.test_page_tabs import show


def measured(page: Page) -> Page:
    """The lab of a page, after a prompt was measured under the chosen mode."""
    limit(page, 24)
    return shown_after_measuring(page)


def shown_after_measuring(page: Page) -> Page:
    show(page, "Lab")
    page.click("#lab-run")
    expect(page.locator(".lab-verdict")).to_contain_text("times plain decoding")
    return page


def test_a_prompt_is_measured_and_its_map_is_drawn(scripted: Served, open_page: OpenPage) -> None:
    page = measured(open_page(scripted))
    expect(page.locator(".lab-strip .token")).to_have_count(24)
    expect(page.locator(".lab-map .heatmaplayer image")).to_be_visible()
    expect(page.locator("#lab-view .hint")).to_have_text("Every step is that of a real run.")
    expect(page.locator(".lab-card").nth(1)).to_contain_text("times plain")


def test_sliders_move_every_figure_at_once(scripted: Served, open_page: OpenPage) -> None:
    page = measured(open_page(scripted))
    best = page.locator(".lab-card").nth(1).locator(".lab-numbers")
    before = best.text_content() or ""
    page.locator("#lab-verification").fill("10")
    expect(best).not_to_have_text(before)
    expect(page.locator("label:has(#lab-verification) output")).to_have_text("×4.00")
    page.select_option("#lab-measure", "tau")
    expect(page.locator(".lab-map")).to_contain_text("tokens a step")
    page.select_option("#lab-costs", "h100-7b")
    expect(page.locator(".lab-verdict")).to_contain_text("times plain decoding")


def test_the_best_setting_goes_into_the_playground(scripted: Served, open_page: OpenPage) -> None:
    page = measured(open_page(scripted))
    words = page.locator(".lab-card").nth(1).locator(".lab-words").text_content() or ""
    depth = next(word.removeprefix("depth=") for word in words.split() if "depth=" in word)
    page.click(".lab-card button")
    expect(page.locator("#tab-playground")).to_be_visible()
    expect(page.locator("[id^=setting-][id$=-depth] input:visible")).to_have_value(depth)


def test_a_page_that_is_loaded_anew_shows_its_profile(
    scripted: Served, open_page: OpenPage
) -> None:
    page = measured(open_page(scripted))
    page.reload()
    expect(page.locator(".lab-verdict")).to_contain_text("times plain decoding")


def test_a_stop_ends_it_and_bad_input_is_one_sentence(open_page: OpenPage) -> None:
    with serve(ScriptedEngine(step_s=0.02)) as served:
        page = open_page(served)
        limit(page, 4000)
        show(page, "Lab")
        page.fill("#lab-prompt textarea", " ")
        page.click("#lab-run")
        expect(page.locator("#lab-view .notice")).to_contain_text("prompt")
        page.fill("#lab-prompt textarea", "Say something")
        page.click("#lab-run")
        page.click("#lab-stop")
        expect(page.locator("#lab-run")).to_be_visible()
        page.close()  # it asks the server how it is, as long as it is open


def test_the_lab_fits_a_narrow_page(scripted: Served, open_page: OpenPage) -> None:
    page = shown_after_measuring(open_page(scripted, viewport=NARROW))
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    box = page.locator(".lab-panel").bounding_box()
    assert box is not None and box["x"] + box["width"] <= NARROW["width"]
