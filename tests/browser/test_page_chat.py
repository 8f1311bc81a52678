"""The chat: turns, system prompt, stop, retry, clear, copy, and several visitors."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.app.scripted_engine import ScriptedEngine
from tests.browser.conftest import OpenPage
from tests.browser.served import Served, serve

EVIL = '<img src=x onerror="alert(1)"> <script>alert(2)</script> &amp;\n'


def ask(page: Page, text: str) -> None:
    page.fill("#message textarea", text)
    page.press("#message textarea", "Enter")


def ended(page: Page, turn: int = 0) -> None:
    """Waits for the end of a turn's answer."""
    status = page.locator(".turn").nth(turn).locator(".answer-status")
    expect(status).to_contain_text("token limit")


def limit(page: Page, num_tokens: int) -> None:
    page.fill("#setting-max-new-tokens input", str(num_tokens))


def unfold(page: Page) -> None:
    """Shows the settings that are folded away."""
    for folded in page.locator(".settings-more:visible > button").all():
        if "open" not in (folded.get_attribute("class") or "").split():
            folded.click()


def choose(page: Page, setting: str, value: str) -> None:
    """Takes an option of a setting's list."""
    page.click(f"#setting-{setting} input")
    page.get_by_role("option", name=value, exact=True).click()


def test_an_answer_comes_as_tokens_and_says_how_it_ended(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    limit(page, 40)
    ask(page, "What is drafted?")
    ended(page)
    assert page.locator(".question").all_text_contents() == ["What is drafted?"]
    assert page.locator(".strip .token").count() == 40
    assert page.locator(".strip").inner_text().startswith("Speculative decoding drafts several")
    expect(page.locator("#message textarea")).to_have_value("")


def test_a_second_turn_carries_the_system_prompt_and_the_turn_before(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    limit(page, 5)
    page.fill("#setting-system textarea", "Be brief.")
    ask(page, "One")
    ended(page)
    ask(page, "Two")
    ended(page, 1)
    assert scripted.engine.prompts[-1] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Speculative decoding drafts several tokens"},
        {"role": "user", "content": "Two"},
    ]


def test_raw_text_is_continued_as_it_is(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    limit(page, 5)
    page.check("#setting-raw input")
    ask(page, "Once upon")
    ended(page)
    assert scripted.engine.prompts[-1] == "Once upon"
    page.fill("#setting-system textarea", "Be brief.")
    ask(page, "Once more")
    expect(page.locator("#chat .notice")).to_contain_text("no setting beside raw text")


def test_stop_keeps_what_has_come(slow: Served, open_page: OpenPage) -> None:
    page = open_page(slow)
    ask(page, "Go on")
    expect(page.locator(".strip .token").nth(5)).to_be_visible()
    page.click("#stop")
    expect(page.locator(".answer-status")).to_contain_text("Stopped")
    assert 5 < page.locator(".strip .token").count() < 256
    expect(page.locator("#send")).to_be_visible()


def test_retry_answers_the_last_message_anew_with_the_present_settings(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    limit(page, 5)
    ask(page, "Again")
    ended(page)
    limit(page, 9)
    page.click("#retry")
    expect(page.locator(".strip .token")).to_have_count(9)
    assert page.locator(".question").all_text_contents() == ["Again"]


def test_clear_empties_the_chat(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    limit(page, 5)
    ask(page, "One")
    ended(page)
    page.click("#clear")
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator(".welcome")).to_be_visible()
    ask(page, "Two")
    ended(page)
    assert scripted.engine.prompts[-1] == [{"role": "user", "content": "Two"}]


def test_copy_as_text_gives_questions_and_answers(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    limit(page, 3)
    ask(page, "One")
    ended(page)
    page.click("#copy")
    page.wait_for_function("async () => (await navigator.clipboard.readText()).startsWith('User:')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "User: One\n\nAssistant: Speculative decoding drafts"


@pytest.mark.parametrize(
    ("control", "value", "told"),
    [
        (None, None, "The message is empty"),
        ("max-new-tokens", "0", "max_new_tokens is 0; give a value from 1"),
        ("ngram-depth", "999", "depth is 999"),
    ],
)
def test_what_is_refused_is_told_in_a_sentence(
    scripted: Served, open_page: OpenPage, control: str | None, value: str | None, told: str
) -> None:
    page = open_page(scripted)
    if control and value:
        page.fill(f"#setting-{control} input", value)
    ask(page, "Hello" if control else "  ")
    expect(page.locator("#chat .notice")).to_contain_text(told)
    assert page.locator(".turn").count() == 0


def test_a_model_that_cannot_be_loaded_says_why_in_its_turn(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    page.fill("#setting-target input", "missing")
    ask(page, "Hello")
    expect(page.locator(".turn.is-failed .answer-status")).to_contain_text("no model named missing")


@pytest.fixture(scope="module")
def evil() -> Iterator[Served]:
    with serve(ScriptedEngine(EVIL)) as served:
        yield served


def test_markup_of_model_and_visitor_stays_text(evil: Served, open_page: OpenPage) -> None:
    page = open_page(evil)
    limit(page, 40)
    page.locator("label.switch").click()
    ask(page, EVIL)
    ended(page)
    assert "<img src=x onerror=" in page.locator(".strip").inner_text()
    assert "<script>alert(2)</script>" in page.locator(".question").inner_text()
    page.locator(".strip .token").nth(1).hover()
    page.locator(".strip .token").nth(1).click()
    expect(page.locator("#token-card")).to_be_visible()
    assert (
        page.locator("img[src='x'], .strip script, #token-card script, .tree script").count() == 0
    )


def test_two_visitors_have_own_chats_and_the_second_sees_its_place(
    slow: Served, open_page: OpenPage
) -> None:
    slow.engine.most_running = 0  # other tests' batches
    first, second = open_page(slow), open_page(slow)
    limit(first, 5000)  # it goes on until it is stopped
    ask(first, "First")
    expect(first.locator(".strip .token").nth(3)).to_be_visible()
    limit(second, 6)
    ask(second, "Second")
    expect(second.locator(".answer-status")).to_contain_text("1 ahead of you")
    assert second.locator(".question").all_text_contents() == ["Second"]
    first.click("#stop")
    ended(second)
    assert first.locator(".question").all_text_contents() == ["First"]
    assert slow.engine.most_running == 1


def test_a_closed_page_frees_the_engine_for_who_waits(
    slow: Served, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.runs.watchers.PATIENCE_S", 0.5)
    first, second = open_page(slow), open_page(slow)
    limit(first, 5000)
    ask(first, "First")
    expect(first.locator(".strip .token").nth(3)).to_be_visible()
    first.close()
    limit(second, 6)
    ask(second, "Second")
    ended(second)
