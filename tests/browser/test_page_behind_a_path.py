"""The whole page through a proxy that serves it under a path, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Browser, expect

from app.root_path import RootPath
from app.runs.visitors import COOKIE
from app.server.accounts import Accounts
from tests.app.scripted_engine import ScriptedEngine, load_scripted
from tests.browser.conftest import OpenPage
from tests.browser.path_proxy import PATH, proxied
from tests.browser.served import serve_pool
from tests.browser.test_page_chat import ask, limit
from tests.browser.test_page_reload import grows
from tests.mcp_tools import call_tool

ACCOUNT = ("ada", "secret")
SETTINGS = json.dumps({"target": "scripted", "max_new_tokens": 5})


class Behind(NamedTuple):
    """A page as its proxy serves it."""

    address: str


# How a proxy and the page come to agree on the path.
WAYS: dict[str, tuple[RootPath, dict[str, bool]]] = {
    "stripping": (RootPath(PATH), {"is_stripping": True}),
    "saying what it strips": (RootPath(), {"is_stripping": True, "says_prefix": True}),
    "not stripping": (RootPath(PATH), {"is_stripping": False}),
}


@pytest.fixture(scope="module")
def behind(request: pytest.FixtureRequest) -> Iterator[Behind]:
    root, proxy = WAYS[request.param]
    load = load_scripted(ScriptedEngine(step_s=0.03))
    with (
        serve_pool(load, "scripted", root=root, mcp=True) as page,
        proxied(page.address, **proxy) as address,
    ):
        yield Behind(address)


@pytest.mark.parametrize(
    "behind",
    [
        "stripping",
        "saying what it strips",
        pytest.param("not stripping", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_an_answer_streams_and_everything_of_it_is_found(
    behind: Behind, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(behind)
    limit(page, 5000)
    ask(page, "What is drafted?")
    expect(page.locator(".strip .token").nth(3)).to_be_visible()
    grows(page.locator(".strip .token"))
    page.click("#stop")
    expect(page.locator(".answer-status")).to_contain_text("Stopped")
    with page.expect_download() as download:
        page.get_by_role("link", name="Steps CSV").click()
    download.value.save_as(tmp_path / "steps.csv")
    assert "step" in (tmp_path / "steps.csv").read_text("utf-8").splitlines()[0]
    page.locator(".gallery summary").click()
    expect(page.locator(".gallery-figure .main-svg").first).to_be_visible()
    page.get_by_role("button", name="Runs", exact=True).click()
    expect(page.locator("tr[data-run] .run-name")).to_have_value("What is drafted?")
    page.get_by_role("button", name="Models", exact=True).click()
    expect(page.locator("#models-view")).to_contain_text("scripted is ready")
    (cookie,) = [cookie for cookie in page.context.cookies() if cookie["name"] == COOKIE]
    assert cookie["path"] == PATH


@pytest.mark.parametrize("behind", WAYS, indirect=True)
def test_programs_find_the_endpoints(behind: Behind) -> None:
    client = Client(behind.address, verbose=False)
    assert client.predict("Hi", SETTINGS, api_name="/generate")["stats"]["num_tokens"] == 5
    assert "token limit" in call_tool(behind.address, "generate", prompt="Hi", settings=SETTINGS)
    assert httpx.get(f"{behind.address}/healthz").json()["status"] == "ok"


def test_a_page_that_does_not_know_its_path_says_what_to_do(browser: Browser) -> None:
    with (
        serve_pool(load_scripted(ScriptedEngine()), "scripted") as inner,
        proxied(inner.address, is_stripping=True) as address,
    ):
        page = browser.new_page()
        page.goto(f"{address}/")
        expect(page.locator("#chat .notice")).to_contain_text(f"start it with --root-path {PATH}.")
        page.close()


def test_a_whole_url_is_where_the_page_looks_for_itself() -> None:
    root = RootPath("/demo", "https", "example.org")
    with serve_pool(load_scripted(ScriptedEngine()), "scripted", root=root) as page:
        for path in ("/config", "/demo/config"):
            assert httpx.get(page.address + path).json()["root"] == "https://example.org/demo"


def test_accounts_hold_behind_a_path_as_well(browser: Browser) -> None:
    load = load_scripted(ScriptedEngine())
    accounts = Accounts(dict([ACCOUNT]))
    with (
        serve_pool(load, "scripted", accounts=accounts, root=RootPath(PATH)) as inner,
        proxied(inner.address, is_stripping=True) as address,
    ):
        assert httpx.get(f"{address}/").status_code == 401
        assert httpx.get(f"{address}/healthz").status_code == 200
        name, password = ACCOUNT
        known = {"username": name, "password": password}
        context = browser.new_context(http_credentials=known)
        page = context.new_page()
        page.goto(f"{address}/")
        ask(page, "Hi")
        expect(page.locator(".strip")).to_contain_text("Speculative decoding")
        context.close()
