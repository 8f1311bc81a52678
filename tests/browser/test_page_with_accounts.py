"""The whole page behind a name and a password, as a browser sends them."""

from playwright.sync_api import Browser, expect

from app.server.accounts import Accounts
from tests.app.scripted_engine import ScriptedEngine, load_scripted
from tests.browser.served import serve_pool


def test_a_browser_that_knows_the_password_gets_the_whole_page(browser: Browser) -> None:
    load = load_scripted(ScriptedEngine())
    with serve_pool(load, "scripted", accounts=Accounts({"ada": "secret"})) as served:
        context = browser.new_context(http_credentials={"username": "ada", "password": "secret"})
        page = context.new_page()
        page.goto(served.address)
        page.locator("#message textarea").fill("Hi")
        page.locator("#send").click()
        expect(page.locator(".strip")).to_contain_text("Speculative decoding")
        expect(page.locator(".question")).to_have_text("Hi")
        context.close()
