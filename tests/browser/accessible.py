"""axe-core on a page, and what stands beyond its edge."""

from importlib.resources import files
from typing import Any

from playwright.sync_api import Page

_AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
_SERIOUS = """async (choice) => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"], ...choice });
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => [id, ...nodes.slice(0, 3).map(({ html }) => html.slice(0, 200))].join("  "));
}"""
# What can be scrolled to, or is cut off on purpose, is in reach.
_BEYOND_THE_EDGE = """() => {
  const isCut = (node) =>
    node && (getComputedStyle(node).overflowX !== "visible" || isCut(node.parentElement));
  return [...document.querySelectorAll("body *")]
    .filter((node) => node.checkVisibility({ visibilityProperty: true }) && node.textContent.trim())
    .filter((node) => node.getBoundingClientRect().right > innerWidth + 1 && !isCut(node.parentElement))
    .map((node) => `beyond the edge  ${node.outerHTML.slice(0, 200)}`)
    .slice(0, 3);
}"""


# Which of axe-core's rules are asked; that of contrasts takes most of the time.
ALL_RULES: dict[str, Any] = {}
CONTRAST_ALONE: dict[str, Any] = {"runOnly": ["color-contrast"]}
ALL_BUT_CONTRAST: dict[str, Any] = {"rules": {"color-contrast": {"enabled": False}}}


def serious_findings(page: Page, rules: dict[str, Any] = ALL_RULES) -> list[str]:
    """What axe-core finds serious, each in a line with the first nodes that have it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    found: list[str] = page.evaluate(_SERIOUS, rules)
    return found


def beyond_the_edge(page: Page) -> list[str]:
    """Texts that end right of the window, out of reach."""
    found: list[str] = page.evaluate(_BEYOND_THE_EDGE)
    return found
