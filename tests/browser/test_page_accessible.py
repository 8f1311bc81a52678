"""axe-core finds nothing serious on any tab: in light, of colours in dark, of all else when narrow."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.accessible import (
    ALL_BUT_CONTRAST,
    ALL_RULES,
    CONTRAST_ALONE,
    serious_findings,
)
from tests.browser.conftest import WIDE, OpenPage
from tests.browser.served import Served
from tests.browser.test_page_looks import NARROW
from tests.browser.test_page_tabs import show
from tests.browser.test_page_tokens import answered


@pytest.mark.parametrize(
    ("scheme", "viewport", "rules"),
    [
        ("light", WIDE, ALL_RULES),
        ("dark", WIDE, CONTRAST_ALONE),
        ("light", NARROW, ALL_BUT_CONTRAST),
    ],
    ids=["light", "dark", "narrow"],
)
def test_no_tab_has_a_serious_finding(
    scripted: Served,
    open_page: OpenPage,
    scheme: str,
    viewport: dict[str, int],
    rules: dict[str, Any],
) -> None:
    page = open_page(scripted, color_scheme=scheme, viewport=viewport)
    if viewport is WIDE:
        answered(page, 30)
        page.locator("label.switch").click()
        page.locator(".strip .token.recovered").first.click()
        expect(page.locator(".tree .node.recovered")).to_be_visible()
    found = {"playground": serious_findings(page, rules)}
    for tab in ("Compare", "Batch", "Lab", "Runs", "Presets", "Models"):
        show(page, tab)
        expect(page.locator(f"#tab-{tab.lower()}")).to_be_visible()
        if tab == "Batch" and viewport is WIDE:
            page.click("#batch-run")
            expect(page.locator(".batch-rows .token").nth(80)).to_be_visible()
        if tab == "Lab":
            page.click("#lab-run")
            expect(page.locator(".lab-verdict")).to_contain_text("plain decoding")
        found[tab] = serious_findings(page, rules)
    assert {tab: problems for tab, problems in found.items() if problems} == {}
