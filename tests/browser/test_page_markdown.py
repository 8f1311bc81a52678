"""Answers as Markdown: structure where it was written, and nothing of a model as markup."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.app.scripted_engine import ScriptedEngine
from tests.browser.conftest import OpenPage
from tests.browser.served import Served, serve
from tests.browser.test_page_chat import ask, ended, limit

TEXT = (
    "## A title\n\nSome **bold** words, a [page](https://example.org/) and a [trap](javascript:x()).\n\n"
    "<img src=x onerror=alert(1)> ![a cat](https://example.org/cat.png)\n\n"
    "```python\nx = '<b>'\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
)


@pytest.fixture(scope="module")
def writer() -> Iterator[Served]:
    with serve(ScriptedEngine(text=TEXT, step_s=0.02)) as it:
        yield it


def test_an_answer_is_shown_as_markdown_and_as_tokens_again(
    writer: Served, open_page: OpenPage
) -> None:
    page = open_page(writer)
    limit(page, len(writer.engine._pieces))
    page.get_by_label("Colours").select_option("markdown")
    ask(page, "Write")
    answer = page.locator(".rendered")
    # While it is written as well.
    expect(answer.locator("h2")).to_have_text("A title")
    ended(page)
    expect(answer.locator("td")).to_have_text(["1", "2"])
    expect(answer.locator("strong")).to_have_text("bold")
    expect(answer.locator("pre code")).to_have_text("x = '<b>'\n")
    expect(answer).to_contain_text("<img src=x onerror=alert(1)>")
    assert answer.locator("img, script").count() == 0
    links = answer.locator("a").evaluate_all("all => all.map(a => [a.textContent, a.href, a.rel])")
    rel = "noopener noreferrer nofollow"
    assert links == [
        ["page", "https://example.org/", rel],
        ["a cat", "https://example.org/cat.png", rel],
    ]
    expect(page.locator(".strip")).to_be_hidden()
    page.get_by_label("Colours").select_option("source")
    expect(page.locator(".strip .token").first).to_be_visible()
    expect(answer).to_be_hidden()
    page.get_by_label("Colours").select_option("markdown")
    expect(answer.locator("h2")).to_be_visible()
