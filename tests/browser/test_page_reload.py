"""The chat of a browser comes back: after a reload, after its tab was closed, beside another tab."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.served import Served
from tests.browser.test_page_batch import open_batch
from tests.browser.test_page_chat import ask, ended, limit
from tests.browser.test_page_tabs import show


def questions(page: Page) -> list[str]:
    return page.locator(".question").all_text_contents()


def sources(page: Page, turn: int = 0) -> list[str]:
    """Text and colour class of each token of an answer."""
    tokens = page.locator(".turn").nth(turn).locator(".strip .token")
    return tokens.evaluate_all("all => all.map(one => `${one.className} ${one.textContent}`)")


def num_tokens(page: Page, turn: int = 0) -> int:
    return page.locator(".turn").nth(turn).locator(".strip .token").count()


def begun(page: Page, turn: int = 0, count: int = 5) -> None:
    """Waits for so many tokens of an answer."""
    expect(page.locator(".turn").nth(turn).locator(".token").nth(count)).to_be_visible()


def another_tab(page: Page) -> Page:
    """A new tab of the same browser."""
    tab = page.context.new_page()
    tab.goto(page.url)
    return tab


def grows(tokens: Locator, count: int = 10) -> None:
    """Waits for so many tokens more than there are."""
    expect(tokens.nth(tokens.count() + count)).to_be_visible()


def test_a_reload_in_the_middle_of_an_answer_goes_on_with_it(
    slow: Served, open_page: OpenPage
) -> None:
    page = open_page(slow)
    limit(page, 6)
    ask(page, "One")
    ended(page)
    limit(page, 5000)
    ask(page, "Two")
    begun(page, 1)
    page.reload()
    begun(page, 1)
    grows(page.locator(".turn").nth(1).locator(".strip .token"))
    page.click("#stop")
    expect(page.locator(".answer-status").nth(1)).to_contain_text("Stopped")
    assert questions(page) == ["One", "Two"]
    assert num_tokens(page, 0) == 6
    assert num_tokens(page, 1) == slow.handlers.store.runs[-1].num_tokens < 5000
    limit(page, 4)
    ask(page, "Three")
    ended(page, 2)
    asked = [message["content"] for message in slow.engine.prompts[-1]]
    assert (asked[0], asked[2], asked[4]) == ("One", "Two", "Three")


def test_everything_of_an_answer_is_there_again(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    limit(page, 40)
    ask(page, "One")
    ended(page)
    before = sources(page)
    page.reload()
    ended(page)
    assert sources(page) == before
    page.locator(".strip .token").nth(7).click()
    expect(page.locator("#token-card")).to_be_visible()
    expect(page.locator(".tree .node").first).to_be_visible()
    expect(page.get_by_role("link", name="Steps CSV")).to_have_attribute("href", expected_file())


def expected_file() -> "re.Pattern[str]":
    return re.compile(r"/runs/[\w-]+/steps\.csv$")


def test_stop_and_retry_reach_an_answer_from_before_the_reload(
    slow: Served, open_page: OpenPage
) -> None:
    page = open_page(slow)
    limit(page, 5000)
    ask(page, "Go on")
    begun(page)
    page.reload()
    begun(page)
    page.click("#stop")
    expect(page.locator(".answer-status")).to_contain_text("Stopped")
    limit(page, 5)
    page.click("#retry")
    ended(page)
    assert questions(page) == ["Go on"]
    page.reload()
    ended(page)
    assert questions(page) == ["Go on"]


def test_an_answer_that_ended_while_its_tab_was_closed_is_complete_in_the_next_one(
    slow: Served, open_page: OpenPage
) -> None:
    page = open_page(slow)
    limit(page, 60)
    ask(page, "One")
    begun(page)
    run = slow.handlers.store.runs[-1]
    tab = page.context.new_page()
    page.close(run_before_unload=True)
    while not run.is_ended:
        run.wait(run.version, 0.1)
    slow.handlers.store.drop([run.run_id])  # long ago: it is on the visitor's shelf alone
    tab.goto(slow.address)
    ended(tab)
    assert num_tokens(tab) == 60


def test_two_tabs_have_a_chat_each_and_keep_it(scripted: Served, open_page: OpenPage) -> None:
    first = open_page(scripted)
    limit(first, 5)
    ask(first, "First")
    ended(first)
    second = another_tab(first)
    expect(second.locator(".welcome")).to_be_visible()
    limit(second, 5)
    ask(second, "Second")
    ended(second)
    assert scripted.engine.prompts[-1] == [{"role": "user", "content": "Second"}]
    for page, question in ((first, "First"), (second, "Second")):
        page.reload()
        ended(page)
        assert questions(page) == [question]


def test_a_new_chat_stays_empty(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    limit(page, 5)
    ask(page, "One")
    ended(page)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".welcome")).to_be_visible()
    page.reload()
    expect(page.locator(".welcome")).to_be_visible()
    assert questions(page) == []
    ask(page, "Two")
    ended(page)
    assert scripted.engine.prompts[-1] == [{"role": "user", "content": "Two"}]


def test_a_run_that_is_gone_is_no_turn_any_more(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    limit(page, 5)
    ask(page, "One")
    ended(page)
    run = scripted.handlers.store.runs[-1]
    ask(page, "Two")
    ended(page, 1)
    scripted.handlers.store.drop([run.run_id])
    (shelf,) = scripted.handlers.archive.folder.glob(f"*/{run.run_id}.json")
    scripted.handlers.archive.delete(shelf.parent.name, run.run_id)
    page.reload()
    ended(page)
    assert questions(page) == ["Two"]


def test_nobody_else_goes_on_with_a_chat(scripted: Served, open_page: OpenPage) -> None:
    page, other = open_page(scripted), open_page(scripted)
    limit(page, 5)
    ask(page, "Secret")
    ended(page)
    run = scripted.handlers.store.runs[-1]
    scripted.handlers.store.drop([run.run_id])
    other.evaluate(
        "id => sessionStorage.setItem('specdecodes-chat /', JSON.stringify([id]))", run.run_id
    )
    other.reload()
    expect(other.locator(".welcome")).to_be_visible()
    assert questions(other) == []


def test_rows_of_a_batch_go_on(slow: Served, open_page: OpenPage) -> None:
    page = open_batch(open_page(slow), 5000, "One\nTwo")
    page.click("#batch-run")
    tokens = page.locator(".batch-rows .lane").nth(1).locator(".token")
    expect(tokens.nth(5)).to_be_visible()
    page.reload()
    expect(tokens.nth(5)).to_be_visible()
    grows(tokens)
    page.click("#batch-stop")
    total = page.locator(".batch-total")
    expect(total).to_contain_text("2 of 2 rows done")
    told = total.text_content()
    page.reload()
    expect(total).to_have_text(told or "")


def test_a_comparison_goes_on_and_its_result_stays(slow: Served, open_page: OpenPage) -> None:
    page = open_page(slow)
    limit(page, 10)
    show(page, "Compare")
    page.click("#comparison-add")
    expect(page.locator(".entries li")).to_have_count(2)
    page.click("#comparison-run")
    rows = page.locator(".comparison table tbody tr")
    expect(rows).to_have_count(2)
    page.reload()
    expect(rows).to_have_count(2)
    page.click("#comparison-reset")
    show(page, "Playground")
    limit(page, 5000)
    show(page, "Compare")
    page.click("#comparison-add")
    expect(page.locator(".entries li")).to_have_count(2)
    page.click("#comparison-run")
    progress = page.locator("#compare-view .comparison-progress")
    expect(progress).to_contain_text("run 3 of 4")
    page.reload()
    expect(progress).to_contain_text("run 3 of 4")
    expect(page.locator(".entries li")).to_have_count(2)
    page.click("#comparison-stop")
    expect(page.locator("#compare-view .notice")).to_contain_text("Stopped; nothing was compared")


def test_a_kept_run_that_is_opened_is_a_turn_for_the_model_as_well(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    limit(page, 5)
    ask(page, "One")
    ended(page)
    page.get_by_role("button", name="New chat").click()
    show(page, "Runs")
    page.locator("tr[data-run]").get_by_role("button", name="Open").click()
    ended(page)
    ask(page, "Two")
    ended(page, 1)
    asked = [message["content"] for message in scripted.engine.prompts[-1]]
    assert (asked[0], asked[2]) == ("One", "Two")
    page.reload()
    ended(page, 1)
    assert questions(page) == ["One", "Two"]
