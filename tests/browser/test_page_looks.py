"""Light and dark, wide and narrow."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.served import Served
from tests.browser.test_page_chat import ask, ended, limit
from tests.browser.test_page_tokens import answered

NARROW = {"width": 390, "height": 844}
BRIGHTNESS = """selector => {
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.fillStyle = getComputedStyle(document.querySelector(selector)).backgroundColor;
  canvas.fillRect(0, 0, 1, 1);
  const [red, green, blue] = canvas.getImageData(0, 0, 1, 1).data;
  return (red + green + blue) / 3;
}"""


@pytest.mark.parametrize("viewport", [NARROW, {"width": 820, "height": 900}])
def test_narrow_pages_never_scroll_sideways_and_keep_all_in_reach(
    scripted: Served, open_page: OpenPage, viewport: dict[str, int]
) -> None:
    page = open_page(scripted, viewport=viewport)
    page.get_by_role("button", name="Settings").click()
    limit(page, 30)
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    ask(page, "Explain")
    ended(page)
    page.locator("label.switch").click()
    page.locator(".strip .token").nth(3).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    for part in ("#figures", "#step-bars", "#stage", "#exports"):
        page.locator(part).scroll_into_view_if_needed()
        expect(page.locator(part)).to_be_in_viewport()


def test_the_colour_scheme_of_the_system_is_followed_and_can_be_changed(
    scripted: Served, open_page: OpenPage
) -> None:
    light = open_page(scripted)
    dark = open_page(scripted, color_scheme="dark")
    assert light.evaluate(BRIGHTNESS, "#chat-column") > 240
    assert dark.evaluate(BRIGHTNESS, "#chat-column") < 40
    dark.get_by_role("button", name="Light or dark").click()
    assert dark.evaluate(BRIGHTNESS, "#chat-column") > 240
    dark.reload()
    expect(dark.locator(".welcome")).to_be_visible()
    assert dark.evaluate(BRIGHTNESS, "#chat-column") > 240


def test_settings_can_be_put_away(scripted: Served, open_page: OpenPage) -> None:
    page: Page = open_page(scripted)
    expect(page.locator("#settings")).to_be_visible()
    page.get_by_role("button", name="Settings").click()
    expect(page.locator("#settings")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_very_wide_pages_keep_lists_together_and_the_chat_in_sight(
    scripted: Served, open_page: OpenPage, scheme: str
) -> None:
    page = open_page(scripted, viewport={"width": 2560, "height": 1440}, color_scheme=scheme)
    limit(page, 30)
    ask(page, "Explain")
    ended(page)
    chat, tree = (page.locator(name).bounding_box() for name in (".turns", ".tree-place"))
    assert chat is not None and tree is not None
    assert chat["width"] < 900 and tree["x"] + tree["width"] <= 2560 and tree["height"] > 300
    for tab in ("Compare", "Runs", "Presets", "Models"):
        page.get_by_role("navigation").get_by_role("button", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 2560
        if tab != "Compare":
            box = page.locator(f"#tab-{tab.lower()} .view").first.bounding_box()
            assert box is not None and box["width"] <= 1600
            assert abs(box["x"] + box["width"] / 2 - 1280) < 20


def test_the_legend_has_one_line_and_every_tab_is_within_a_phone(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted, viewport={"width": 1440, "height": 900})
    for bring_about in (lambda page: page, answered):
        bring_about(page)
        parts = page.locator(".legend .legend-entry:visible, .legend .switch, .legend .color-mode")
        middles = parts.evaluate_all(
            "nodes => nodes.map((node) => node.getBoundingClientRect())"
            ".map((box) => box.y + box.height / 2)"
        )
        assert len(middles) >= 5 and max(middles) - min(middles) < 8
    page.set_viewport_size(NARROW)
    page.get_by_role("button", name="Keyboard shortcuts").click()
    for part in (*page.locator(".tab-button").all(), page.locator("dialog.shortcuts")):
        box = part.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= NARROW["width"]
