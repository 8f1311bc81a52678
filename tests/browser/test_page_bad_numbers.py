"""Models whose logits are no numbers, on the page: the answer says so, and the page goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import expect

from core.config import RunConfig
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.file import Trace
from tests.browser.conftest import OpenPage
from tests.browser.served import ServedPage, serve_pool
from tests.browser.test_page_chat import ask, ended, limit
from tests.core.test_bad_numbers import NAN, save, sentence, whole, with_input, with_norm

# Of "user: Hi\nassistant: " in the tiny models' tokens.
NUM_TOKENS = 20


class Broken(NamedTuple):
    page: ServedPage
    num_told: int
    """Tokens that the model named `late` says before it fails."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    home = tmp_path_factory.mktemp("models")
    save(home / "whole", whole)
    save(home / "broken", with_norm(NAN))
    engine = Engine(load_model(str(home / "whole"), dtype="float32", compile=False))
    prompt = engine.chat_prompt([{"role": "user", "content": "Hi"}])
    told = Trace(list(engine.run(prompt, RunConfig(max_new_tokens=12)))).token_ids
    place = next(
        place for place in range(2, 12) if told[place] not in [*told[:place], *prompt.token_ids]
    )
    save(home / "late", with_input(told[place]))

    def load(key: Any, progress: Any) -> Engine:
        name = Path(key.target).name
        return Engine(load_model(str(home / name), dtype="float32", compile=False))

    with serve_pool(load, "broken") as page:
        yield Broken(page, place + 1)


def test_a_run_of_no_numbers_ends_with_its_sentence_and_the_next_one_runs(
    served: Broken, open_page: OpenPage
) -> None:
    page = open_page(served.page)
    limit(page, 8)
    ask(page, "Hi")
    status = page.locator(".turn.is-failed .answer-status")
    expect(status).to_have_text(sentence("target", NUM_TOKENS))
    assert page.locator(".strip .token").count() == 0
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#send")).to_be_visible()
    page.fill("#setting-target input", "whole")
    ask(page, "Hi")
    ended(page, 1)
    assert page.locator(".turn").nth(1).locator(".strip .token").count() == 8


def test_tokens_before_the_failure_stay(served: Broken, open_page: OpenPage) -> None:
    page = open_page(served.page)
    page.fill("#setting-target input", "late")
    ask(page, "Hi")
    status = page.locator(".turn.is-failed .answer-status")
    expect(status).to_have_text(
        f"{sentence('target', NUM_TOKENS + served.num_told)} · {served.num_told} tokens"
    )
    assert page.locator(".strip .token").count() == served.num_told
    expect(page.locator("#send")).to_be_visible()
