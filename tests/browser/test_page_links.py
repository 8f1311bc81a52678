"""Links to a run and a step: for the same visitor, for others, for runs that go on or are gone."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.served import Served
from tests.browser.test_page_chat import ask, ended, limit
from tests.browser.test_page_reload import grows
from tests.browser.test_page_tokens import answered

LINK = re.compile(r"#run=[\w-]+&step=4$")


def linked(page: Page) -> str:
    """Selects the fourth step and copies its link."""
    page.locator("input.scrubber").fill("4")
    page.wait_for_function("location.hash.startsWith('#run=')")
    page.get_by_role("button", name="copy link").click()
    link: str = page.evaluate("navigator.clipboard.readText()")
    assert LINK.search(link) and page.url == link
    return link


def test_a_link_shows_its_step_again_and_to_others(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted))
    link = linked(page)
    page.reload()
    ended(page)
    expect(page.locator("#stage .summary")).to_contain_text("step 4:")
    assert page.url == link
    page.get_by_role("button", name="back to newest").click()
    page.wait_for_function("location.hash === '#playground'")
    other = open_page(scripted)
    other.goto(link)
    expect(other.locator("#stage .summary")).to_contain_text("step 4:")
    assert (
        other.locator(".question").all_inner_texts() == page.locator(".question").all_inner_texts()
    )
    expect(other.locator(".strip .in-step").first).to_be_visible()


def test_a_link_to_a_run_that_goes_on_shows_how_it_goes_on(
    slow: Served, open_page: OpenPage
) -> None:
    page = open_page(slow)
    limit(page, 3000)
    ask(page, "Go on")
    expect(page.locator(".strip .token").nth(20)).to_be_visible()
    link = linked(page)
    other = open_page(slow)
    other.goto(link)
    other.reload()
    expect(other.locator("#stage .summary")).to_contain_text("step 4:")
    grows(other.locator(".strip .token"))
    page.click("#stop")
    expect(other.locator(".answer-status")).to_contain_text("Stopped")


def test_a_link_that_leads_nowhere_says_so(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    page.goto(f"{scripted.address}/#run=nobody-knows-it&step=2")
    expect(page.get_by_role("alert").first).to_contain_text("not kept any more")
    page.goto(f"{scripted.address}/#run=..%2F..%2Fetc&step=2")
    page.reload()
    expect(page.get_by_role("alert").first).to_contain_text("not kept any more")
    answered(page)
