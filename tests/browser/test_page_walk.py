"""Walking the steps: scrubber, keys, playback, colour modes, refused drafts, figures."""

import csv
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.served import Served
from tests.browser.test_page_tokens import answered


def place(page: Page) -> str:
    return page.locator(".place").inner_text().split(" /")[0]


def test_scrubber_and_keys_walk_text_tree_and_time_together(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    page.locator("input.scrubber").fill("3")
    for step, key in ((3, None), (4, "ArrowRight"), (3, "ArrowLeft"), (1, "Home")):
        if key:
            page.locator("#figures").click()
            page.keyboard.press(key)
        expect(page.locator("#tree-view .summary")).to_contain_text(f"step {step}:")
        expect(page.locator(".told")).to_contain_text(f"step {step}:")
        assert place(page) == str(step)
        assert page.locator(".strip .in-step").count() >= 1


def test_a_click_on_a_bar_or_a_node_selects_the_step_in_the_text(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    box = page.locator("canvas.bars").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + 80)
    expect(page.locator(".strip .in-step").first).to_be_visible()
    page.locator(".tree .node:not(.root):not(.rejected):not(.untested)").first.click()
    expect(page.locator(".strip .selected")).to_have_count(1)


def test_play_walks_to_the_end_and_stops(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted), 40)
    page.get_by_role("button", name="Play or pause").click()
    total = page.locator(".place").inner_text().split("/ ")[1]
    expect(page.locator(".place")).to_have_text(f"{total} / {total}")


def test_the_question_mark_lists_the_shortcuts(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    page.locator("#figures").click()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_refused_draft_says_why(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted))
    page.locator(".strip .token.recovered").first.click()
    page.locator(".tree .node.rejected").first.hover()
    card = page.locator("#token-card")
    expect(card).to_contain_text("Why was this refused?")
    expect(card).to_contain_text("Drafter's choices here")
    expect(card).to_contain_text("the target's most probable token")


def test_under_sampling_the_noise_that_refused_a_draft_is_told(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    page.fill("#setting-temperature input", "0.8")
    answered(page)
    page.locator(".strip .token.recovered").first.click()
    page.locator(".tree .node.rejected").first.hover()
    card = page.locator("#token-card")
    expect(card).to_contain_text("keyed by the seed")
    expect(card).to_contain_text("noise was \u22120.50, and it needed 1.25")
    expect(card.locator("h4")).to_have_text(
        ["Why was this refused?", "Target's choices here", "Drafter's choices here"]
    )


def test_colours_can_show_other_measures(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted))
    token = page.locator(".strip .token.accepted").first
    heat = "node => getComputedStyle(node).getPropertyValue('--heat')"
    assert token.evaluate(heat) == ""
    page.get_by_label("Colours").select_option("target")
    page.wait_for_function("document.querySelector('.strip').classList.contains('is-heat')")
    assert abs(float(token.evaluate(heat)) - 0.2) < 0.01
    page.get_by_label("Colours").select_option("source")
    page.wait_for_function("!document.querySelector('.strip').classList.contains('is-heat')")


def test_the_tree_zooms_and_fits_again(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted))
    group = page.locator("svg.tree > g")
    before = group.get_attribute("transform")
    page.locator(".tree-place").hover()
    page.mouse.wheel(0, -400)
    page.wait_for_function(
        "before => document.querySelector('svg.tree > g').getAttribute('transform') !== before",
        arg=before,
    )
    page.get_by_role("button", name="fit").click()
    assert group.get_attribute("transform") == before


def test_more_figures_are_drawn_with_their_data(
    scripted: Served, open_page: OpenPage, tmp_path: Path
) -> None:
    page = answered(open_page(scripted))
    page.locator(".gallery summary").click()
    expect(page.locator(".gallery-figure .main-svg").first).to_be_visible()
    assert page.locator(".gallery-figure").count() == 5
    with page.expect_download() as download:
        page.locator("[data-name=acceptance_by_depth] a").click()
    path = tmp_path / "figure.csv"
    download.value.save_as(path)
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["depth"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    with page.expect_download() as picture:
        page.locator("[data-name=acceptance_by_depth] button").click()
    assert picture.value.suggested_filename == "acceptance_by_depth.png"
