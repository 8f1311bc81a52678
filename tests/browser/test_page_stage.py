"""The large panel: room for the tree by button, key, double click and borders; folds; scrolling."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.app.scripted_engine import ScriptedEngine
from tests.browser.conftest import OpenPage
from tests.browser.served import Served, serve
from tests.browser.test_page_chat import ended
from tests.browser.test_page_tabs import show
from tests.browser.test_page_tokens import answered
from tests.browser.test_page_walk import transform_of

READABLE = 0.8


@pytest.fixture(scope="module")
def wide() -> Iterator[Served]:
    """Trees of 64 nodes."""
    with serve(ScriptedEngine(width=31)) as it:
        yield it


def height_of(page: Page, part: str) -> float:
    box = page.locator(part).bounding_box()
    assert box is not None
    return box["height"]


def test_the_tree_takes_the_page_by_button_key_and_double_click(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    small = height_of(page, ".tree-place")
    page.get_by_role("button", name="Enlarge over the page").click()
    assert height_of(page, ".tree-place") > 1.7 * small
    expect(page.locator(".stage-text .token").first).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("input.scrubber")).to_be_in_viewport()
    page.get_by_role("button", name="Back to its place").click()
    assert height_of(page, ".tree-place") == small
    expect(page.locator(".stage-text")).to_be_hidden()
    page.locator("#stage .summary").click()
    page.keyboard.press("f")
    assert height_of(page, ".tree-place") > 1.7 * small
    page.keyboard.press("Escape")
    assert height_of(page, ".tree-place") == small
    box = page.locator(".tree-place").bounding_box()
    assert box is not None
    page.mouse.dblclick(box["x"] + box["width"] - 20, box["y"] + box["height"] - 20)
    assert height_of(page, ".tree-place") > 1.7 * small


def test_a_large_tree_stays_readable_folds_and_scrolls(wide: Served, open_page: OpenPage) -> None:
    page = answered(open_page(wide), 40)
    page.locator("input.scrubber").fill("2")
    nodes = page.locator("svg.tree .node")
    # Branches of two below the root were never judged where its first child was accepted.
    expect(page.locator("svg.tree .folded")).to_have_count(1)
    assert transform_of(page).scale >= READABLE
    folded = nodes.count()
    page.locator("svg.tree .folded").click()
    assert nodes.count() > folded + 50
    page.get_by_role("button", name="unfold").click()
    page.get_by_role("button", name="fold", exact=True).click()
    assert nodes.count() == folded
    page.get_by_role("button", name="unfold").click()
    assert nodes.count() > folded + 50
    assert transform_of(page).scale == READABLE
    expect(page.locator(".tree-place .scroll-bar.down")).to_be_visible()
    expect(page.locator(".tree-place .scroll-bar.across")).to_be_hidden()
    page.locator(".tree-place").hover()
    page.mouse.wheel(0, 200)
    page.wait_for_function(
        """document.querySelector('svg.tree > g').getAttribute('transform')
        .startsWith('translate(0,-200)')"""
    )
    page.mouse.wheel(0, 100_000)
    expect(page.locator("svg.tree .node.untested").last).to_be_in_viewport()


def test_borders_are_dragged_and_moved_by_keys_and_stay_where_they_are(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    width, tall = page.locator("#instruments").bounding_box(), height_of(page, ".tree-place")
    assert width is not None
    across = page.get_by_role("separator", name="Border between chat and instruments")
    box = across.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, 300)
    page.mouse.down()
    page.mouse.move(box["x"] - 96, 300, steps=3)
    page.mouse.up()
    wider = page.locator("#instruments").bounding_box()
    assert wider is not None and wider["width"] == pytest.approx(width["width"] + 100, abs=2)
    down = page.get_by_role("separator", name="Border between times and tree")
    down.focus()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    assert height_of(page, ".tree-place") == pytest.approx(tall + 72, abs=2)
    page.reload()
    expect(page.locator(".turn")).to_be_visible()
    again = page.locator("#instruments").bounding_box()
    assert again == wider
    assert height_of(page, ".tree-place") == pytest.approx(tall + 72, abs=2)
    down.dblclick()
    across.dblclick()
    assert height_of(page, ".tree-place") == tall


# Whether anything is drawn.
DRAWN = """() => {
  const canvas = document.querySelector("canvas.run-map");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.some((value, place) => place % 4 === 3 && value > 100);
}"""


def test_the_map_selects_and_is_selected_at_any_zoom(wide: Served, open_page: OpenPage) -> None:
    page = answered(open_page(wide), 300)
    page.get_by_role("button", name="Run map").click()
    expect(page.locator("#stage .summary")).to_contain_text("300 tokens of")
    page.wait_for_function(DRAWN)
    box = page.locator(".map-place").bounding_box()
    assert box is not None
    # Far: a click selects the step.
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 40)
    expect(page.locator(".strip .in-step").first).to_be_visible()
    far = page.locator(".place").inner_text()
    # Near: the selected step fills the map, and its first cell is the first of its tokens.
    page.get_by_role("button", name="this step").click()
    first = page.locator(".strip .in-step").first.inner_text()
    _hover_first_cell(page, first)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator(".strip .selected")).to_have_text(first)
    assert page.locator(".place").inner_text() == far
    # Selected elsewhere, a step comes into view.
    page.locator("input.scrubber").fill("1")
    page.wait_for_function(DRAWN)
    first = page.locator(".strip .in-step").first.inner_text()
    _hover_first_cell(page, first)


def _hover_first_cell(page: Page, text: str) -> None:
    """Moves over the top row until the card of the token appears."""
    box = page.locator(".map-place").bounding_box()
    assert box is not None
    card = page.locator("#token-card .card-text")
    for share in range(1, 60):
        page.mouse.move(box["x"] + box["width"] * share / 60, box["y"] + 24)
        if card.is_visible() and card.inner_text().strip("·↵") == text.strip("·↵ "):
            return
    raise AssertionError(f"no cell of {text!r}")


def test_a_step_is_explained_part_by_part(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    page.fill("#setting-temperature input", "0.8")
    answered(page)
    page.locator(".strip .token.recovered").nth(1).click()
    page.locator("#stage .summary").click()
    page.keyboard.press("e")
    assert height_of(page, ".story-place") > 400
    title, told = page.locator(".explain-words h4"), page.locator(".told-parts")
    expect(title).to_have_text("Step 2 begins")
    expect(page.locator(".story-tree .node")).to_have_count(1)
    page.get_by_role("button", name="Next part").click()
    expect(told).to_contain_text("scripted guesses 8 tokens in 0.50 ms")
    expect(page.locator(".story-tree .node.proposed")).to_have_count(8)
    page.keyboard.press(".")
    expect(told).to_contain_text("9 rows of one forward pass, in 14.5 ms")
    expect(page.locator(".story-tree .note")).to_have_count(8)
    while title.inner_text() != "What it gave, and what it cost":
        page.keyboard.press(".")
    expect(told).to_contain_text("Plain decoding takes 12.0 ms a token")
    expect(page.get_by_role("button", name="Next part")).to_be_disabled()
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text("Step 3 begins")
    page.get_by_role("button", name="Play or pause the story").click()
    expect(title).to_have_text("The target reads all of it in one pass")


def test_the_first_preset_has_a_short_tour_which_ends_with_a_step_explained(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    show(page, "Presets")
    page.locator("[data-preset=wide-tree]").click()
    tour = page.get_by_role("dialog", name="A short tour")
    expect(tour).to_contain_text("where it came from")
    tour.get_by_role("button", name="Next").click()
    expect(tour).to_contain_text(f"{scripted.last_stats().num_steps} steps")
    tour.get_by_role("button", name="Next").click()
    tour.get_by_role("button", name="Explain this step").click()
    expect(tour).to_have_count(0)
    expect(page.locator(".explain-words h4")).to_have_text(re.compile(r"Step \d+ begins"))
    page.keyboard.press("Escape")
    show(page, "Presets")
    page.locator("[data-preset=open-chat]").click()
    ended(page)
    expect(tour).to_have_count(0)
