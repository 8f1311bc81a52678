"""Branches: another token is chosen, the answers stand beside each other, and the chat goes on."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.served import Served
from tests.browser.test_page_chat import ask, ended, limit
from tests.browser.test_page_tabs import show

PILLS = ".branches .pill"


def answered(page: Page, num_tokens: int = 24) -> Page:
    limit(page, num_tokens)
    ask(page, "Explain")
    ended(page)
    return page


def fork_at(page: Page, token: int, choice: int = 1) -> str:
    """Chooses one of the other tokens in a card; returns what the button said."""
    page.locator(".strip:visible .token").nth(token).click()
    button = page.locator("#token-card .go-on").nth(choice)
    name = button.get_attribute("aria-label") or ""
    button.click()
    return name


def pills(page: Page, *names: str) -> Locator:
    """Waits for the branches of the answer that is shown, the last one pressed."""
    shown = page.locator(PILLS)
    expect(shown).to_have_text([re.compile(name) for name in names])
    return shown


def branch_at(page: Page, token: int, *names: str) -> str:
    """Makes a branch and waits for its end; returns as `fork_at`. The names are those of `pills`."""
    said = fork_at(page, token)
    pills(page, *names)
    ended(page)
    return said


def test_another_token_is_chosen_and_the_answers_stand_beside_each_other(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    strip = page.locator(".strip:visible")
    first = strip.inner_text()
    name = fork_at(page, 5)
    assert re.fullmatch("Go on with “.+” as token 6", name)
    shown = pills(page, "^main$", "^branch 1 at token 6: ")
    expect(shown.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".turn")).to_have_count(1)
    ended(page)
    expect(page.locator("#token-card")).to_be_hidden()
    expect(strip.locator(".token.inherited")).to_have_count(5)
    expect(strip.locator(".token.chosen")).to_have_count(1)
    expect(strip.locator(".token")).to_have_count(24)
    assert strip.inner_text() != first
    strip.locator(".token.chosen").hover()
    expect(page.locator("#token-card")).to_contain_text("chosen: for this branch")
    shown.nth(0).click()
    expect(shown.nth(0)).to_be_focused()
    assert strip.inner_text() == first
    expect(strip.locator(".token.chosen")).to_have_count(0)


def test_a_branch_is_left_at_a_token_that_it_took_over_or_began_with(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    branch_at(page, 5, "main", "branch 1 at token 6")
    page.locator(".strip:visible .token.inherited").nth(2).hover()
    card = page.locator("#token-card")
    expect(card).to_contain_text("inherited: of the answer that this is a branch of")
    expect(card).to_contain_text("in step 1")
    expect(card.locator(".choices li").nth(1)).to_be_visible()
    said = branch_at(page, 2, "main", "branch 1 at token 6", "branch 2 at token 3")
    assert said.endswith("as token 3")
    expect(page.locator(".strip:visible .token.inherited")).to_have_count(2)
    assert fork_at(page, 2).endswith("as token 3"), "the one that was chosen can be another"
    pills(page, "main", "branch 1 at token 6", "branch 2 at token 3", "branch 3 at token 3")


def test_two_branches_are_compared_with_their_first_difference_marked(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    branch_at(page, 4, "main", "branch 1 at token 5")
    branch_at(page, 9, "main", "branch 1 at token 5", "branch 2 at token 10")
    page.get_by_role("button", name="compare", exact=True).click()
    panel = page.get_by_role("region", name="Branches side by side")
    expect(panel.locator(".parting")).to_contain_text("They part at token 5")
    expect(panel.locator("mark")).to_have_count(2)
    panel.get_by_label("Compared with").select_option(label=page.locator(PILLS).nth(1).inner_text())
    expect(panel.locator(".parting")).to_contain_text("They part at token 10")
    panel.get_by_role("button", name="figures").click()
    expect(page.locator(".comparison-table .verdict").last).to_contain_text("parts at token 10")


def test_the_next_turn_follows_upon_the_branch_that_is_shown(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    ask(page, "And then?")
    ended(page, 1)
    branch_at(page, 3, "main", "branch 1")
    expect(page.locator(".turn")).to_have_count(1)
    branch = scripted.handlers.store.runs[-1].answer
    ask(page, "What now?")
    ended(page, 1)
    told = scripted.engine.prompts[-1]
    assert isinstance(told, list)
    assert told[-2] == {"role": "assistant", "content": branch}
    questions = page.locator(".question")
    expect(questions).to_have_text(["Explain", "What now?"])
    page.locator(PILLS).nth(0).click()
    expect(questions).to_have_text(["Explain", "And then?"])


def test_a_drafted_node_of_the_tree_is_gone_on_with_by_keys_alone(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    page.locator(".strip .token.recovered").first.click()
    page.mouse.click(3, 3)
    node = page.locator(".tree .node.rejected").first
    node.focus()
    page.keyboard.press("Enter")
    button = page.get_by_role("button", name=re.compile("^Go on with")).first
    expect(button).to_be_focused()
    expect(button).to_have_text("go on with this")
    page.keyboard.press("Enter")
    pills(page, "main", "branch 1")
    ended(page)
    expect(page.locator(".strip .token.chosen").first).to_be_visible()


def test_a_card_of_the_tree_stays_while_the_text_comes_into_view(
    scripted: Served, open_page: OpenPage
) -> None:
    """The text scrolls to the step of the node."""
    page = answered(open_page(scripted, viewport={"width": 1200, "height": 600}), 200)
    page.keyboard.press("Home")
    page.locator(".tree .node:is(.rejected, .untested)").first.click()
    expect(page.locator("#token-card.is-pinned")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Go on with")).first.click()
    pills(page, "main", "branch 1")
    ended(page)


def test_a_reloaded_page_has_its_branches_and_the_one_that_was_shown(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    branch_at(page, 5, "main", "branch 1")
    page.locator(PILLS).nth(0).click()
    expect(page.locator(PILLS).nth(0)).to_have_attribute("aria-pressed", "true")
    page.reload()
    shown = pills(page, "main", "branch 1 at token 6")
    expect(shown.nth(0)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".turn")).to_have_count(1)


def test_a_branch_can_be_stopped_as_any_answer(slow: Served, open_page: OpenPage) -> None:
    page = open_page(slow)
    limit(page, 5000)
    ask(page, "Explain")
    expect(page.locator(".strip .token").nth(3)).to_be_visible()
    page.click("#stop")
    status = page.locator(".answer-status")
    expect(status).to_contain_text("Stopped")
    fork_at(page, 2)
    pills(page, "main", "branch 1")
    page.click("#stop")
    expect(status).to_contain_text("Stopped")
    expect(page.locator(".strip .token.chosen")).to_have_count(1)


def test_a_branch_that_is_opened_from_the_kept_runs_or_a_link_brings_those_it_was_forked_from(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    branch_at(page, 5, "main", "branch 1 at token 6")
    branch_at(page, 9, "main", "branch 1 at token 6", "branch 2 at token 10")
    page.click("#clear")
    expect(page.locator(".turn")).to_have_count(0)
    show(page, "Runs")
    rows = page.locator("tr[data-run]")
    expect(rows).to_have_count(3)
    expect(rows.nth(0).locator(".run-name")).to_have_value(re.compile("^branch at token 10: "))
    branch = rows.nth(0).get_attribute("data-run")
    rows.nth(0).get_by_role("button", name="Open").click()
    shown = pills(page, "main", "branch 1 at token 6", "branch 2 at token 10")
    expect(shown.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".turn")).to_have_count(1)
    shown.nth(0).click()
    expect(page.locator(".strip:visible .token.chosen")).to_have_count(0)
    page.click("#clear")
    expect(page.locator(".turn")).to_have_count(0)
    page.goto(f"{scripted.address}/#run={branch}&step=2")
    page.reload()
    shown = pills(page, "main", "branch 1 at token 6", "branch 2 at token 10")
    expect(shown.nth(2)).to_have_attribute("aria-pressed", "true")
