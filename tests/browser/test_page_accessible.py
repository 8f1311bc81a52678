"""axe-core finds nothing serious on any tab, in light, dark and on a narrow page."""

from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import WIDE, OpenPage
from tests.browser.served import Served
from tests.browser.test_page_looks import NARROW
from tests.browser.test_page_tabs import show
from tests.browser.test_page_tokens import answered

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => [id, nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]);
}"""


def serious(page: Page) -> Any:
    return page.evaluate(RUN)


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", WIDE), ("dark", WIDE), ("light", NARROW)]
)
def test_no_tab_has_a_serious_finding(
    scripted: Served, open_page: OpenPage, scheme: str, viewport: dict[str, int]
) -> None:
    page = open_page(scripted, color_scheme=scheme, viewport=viewport)
    page.evaluate(AXE)
    if viewport is WIDE:
        answered(page, 30)
        page.locator("label.switch").click()
        page.locator(".strip .token.recovered").first.click()
        expect(page.locator(".tree .node.recovered")).to_be_visible()
    found = {"playground": serious(page)}
    for tab in ("Compare", "Batch", "Lab", "Runs", "Presets", "Models"):
        show(page, tab)
        expect(page.locator(f"#tab-{tab.lower()}")).to_be_visible()
        if tab == "Batch" and viewport is WIDE:
            page.click("#batch-run")
            expect(page.locator(".batch-rows .token").nth(80)).to_be_visible()
        if tab == "Lab":
            page.click("#lab-run")
            expect(page.locator(".lab-verdict")).to_contain_text("plain decoding")
        found[tab] = serious(page)
    assert {tab: problems for tab, problems in found.items() if problems} == {}
