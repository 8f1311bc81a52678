"""Walking the steps: scrubber, keys, playback, colour modes, refused drafts, figures."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import pytest
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
        expect(page.locator("#stage .summary")).to_contain_text(f"step {step}:")
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


class Transform(NamedTuple):
    """Where the tree's drawing stands."""

    x: float
    y: float
    scale: float


def transform_of(page: Page) -> Transform:
    text = page.locator("svg.tree > g").get_attribute("transform") or ""
    return Transform(*map(float, re.findall(r"-?[\d.]+(?:e-?\d+)?", text)))


def test_the_tree_zooms_and_fits_again(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted))
    group = page.locator("svg.tree > g")
    before = group.get_attribute("transform")
    page.locator(".tree-place").hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    page.wait_for_function(
        "before => document.querySelector('svg.tree > g').getAttribute('transform') !== before",
        arg=before,
    )
    page.get_by_role("button", name="fit").click()
    assert group.get_attribute("transform") == before


def test_a_pan_that_ends_on_a_node_moves_the_tree_and_selects_nothing(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    before, newest = transform_of(page), page.get_by_role("button", name="back to newest")
    node = page.locator("svg.tree .node").nth(1)
    box = node.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=4)
    page.mouse.up()
    moved = node.bounding_box()
    assert moved is not None
    assert (moved["x"] - box["x"], moved["y"] - box["y"]) == pytest.approx((30, 20), abs=1)
    assert transform_of(page).scale == before.scale
    expect(newest).to_be_hidden()
    page.mouse.move(x + 31, y + 20)
    page.mouse.down()
    page.mouse.move(x + 32, y + 21)  # a hand is not still while it clicks
    page.mouse.up()
    expect(newest).to_be_visible()


def test_keys_zoom_the_tree_and_fit_it_again(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted))
    before = transform_of(page)
    page.locator("#stage .summary").click()
    page.keyboard.press("+")
    assert transform_of(page).scale == pytest.approx(before.scale * 1.25)
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert transform_of(page).scale == pytest.approx(before.scale / 1.25)
    page.keyboard.press("0")
    assert transform_of(page) == before


def test_two_fingers_zoom_the_tree_and_a_tap_selects(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted, has_touch=True))
    before = transform_of(page)
    place = page.locator(".tree-place").bounding_box()
    assert place is not None
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, half: float | None) -> None:
        places = [] if half is None else [{"x": x - half, "y": y}, {"x": x + half, "y": y}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", 40)
    for half in (50, 60):
        touch("touchMove", half)
    touch("touchEnd", None)
    assert transform_of(page).scale == pytest.approx(before.scale * 1.5, rel=0.02)
    expect(page.get_by_role("button", name="back to newest")).to_be_hidden()
    page.get_by_role("button", name="fit").tap()
    page.locator("svg.tree .node.accepted").first.tap()
    expect(page.get_by_role("button", name="back to newest")).to_be_visible()


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
