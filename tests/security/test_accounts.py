"""A page with accounts answers nobody else, wherever they ask."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from app.server.accounts import OWN_HEADER, Accounts, read_accounts
from app.server.paths import PREFIX
from core.errors import InvalidSettingError
from tests.app.scripted_engine import ScriptedEngine, load_scripted
from tests.browser.served import ServedPage, serve_pool
from tests.fuzz.served_targets import NUM_TOKENS, answer_of
from tests.mcp_tools import call_tool
from tests.page_client import PageClient

ACCOUNT = ("käthe", "a pass:word ✓")


@pytest.fixture(scope="module")
def page() -> Iterator[ServedPage]:
    patch = pytest.MonkeyPatch()
    patch.setattr("app.server.accounts._PAUSE_S", 0.0)
    accounts = Accounts(dict([ACCOUNT]))
    load = load_scripted(ScriptedEngine())
    with serve_pool(load, "scripted", mcp=True, accounts=accounts) as page:
        yield page
    patch.undo()


@pytest.fixture(params=[None, ("käthe", "wrong"), ("käthe", ""), ("eve", ACCOUNT[1]), ("", "")])
def stranger(page: ServedPage, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=page.address, auth=request.param) as client:
        yield client


def test_whoever_has_no_account_gets_nothing_but_the_health(
    page: ServedPage, stranger: httpx.Client
) -> None:
    friend = PageClient(page.address, ACCOUNT)
    run_id = answer_of(friend)["run"]
    friend.close()
    for method, path in (
        ("GET", "/"), ("GET", "/config"), ("GET", "/metrics"), ("GET", "/theme.css"),
        ("GET", f"/{PREFIX}/static/page.js"), ("GET", f"/{PREFIX}/status.json"),
        ("GET", f"/{PREFIX}/runs/{run_id}/trace.jsonl"), ("GET", f"/{PREFIX}/archive.json"),
        ("POST", f"/{PREFIX}/archive"), ("DELETE", f"/{PREFIX}/archive/{run_id}"),
        ("POST", f"/{PREFIX}/models/load"), ("POST", f"/{PREFIX}/models/cancel"),
        ("POST", "/gradio_api/call/generate"), ("POST", "/gradio_api/queue/join"),
        ("GET", "/gradio_api/queue/data?session_hash=x"), ("GET", "/gradio_api/info"),
        ("POST", "/gradio_api/mcp/"), ("GET", "/healthz/"), ("GET", "//healthz"), ("GET", "/no"),
    ):  # fmt: skip
        answer = stranger.request(method, path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Basic ")
    assert stranger.get("/healthz").json()["status"] == "ok"


def test_who_has_an_account_gets_everything(page: ServedPage) -> None:
    client = PageClient(page.address, ACCOUNT)
    message = answer_of(client)
    assert message["stats"]["num_tokens"] == NUM_TOKENS
    assert client.http.get(f"/{PREFIX}/runs/{message['run']}/trace.jsonl").status_code == 200
    assert "specdecodes_runs_total" in client.http.get("/metrics").text
    client.close()


def test_gradios_own_client_comes_in_with_its_name_and_password(page: ServedPage) -> None:
    client = Client(page.address, verbose=False, httpx_kwargs={"auth": httpx.BasicAuth(*ACCOUNT)})
    settings = json.dumps({"target": "scripted", "max_new_tokens": 5})
    assert client.predict("Hi", settings, api_name="/generate")["stats"]["num_tokens"] == 5


def test_mcp_tools_answer_who_has_an_account_and_nobody_else(page: ServedPage) -> None:
    given = {"prompt": "Hi", "settings": json.dumps({"target": "scripted", "max_new_tokens": 5})}
    assert "Reached the token limit" in call_tool(page.address, "generate", ACCOUNT, **given)
    with pytest.raises(ExceptionGroup):
        call_tool(page.address, "generate", ("käthe", "wrong"), **given)


@pytest.mark.parametrize("key", ["", "x" * 43])
def test_nobody_else_comes_in_as_the_program_itself(page: ServedPage, key: str) -> None:
    assert httpx.get(f"{page.address}/config", headers={OWN_HEADER: key}).status_code == 401


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Bearer abc", "Basic w7xiZXI=", "Basic //8=", "basic "]
)
def test_a_broken_header_is_no_account(header: str) -> None:
    assert not Accounts(dict([ACCOUNT])).admit(header)


def test_accounts_come_from_a_file_or_else_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPECDECODES_AUTH", raising=False)
    assert read_accounts(None) is None
    monkeypatch.setenv("SPECDECODES_AUTH", "eve:apple")
    path = tmp_path / "accounts"
    path.write_text("\nkäthe:a pass:word ✓\n", encoding="utf-8")
    eve, kaethe = httpx.BasicAuth("eve", "apple"), httpx.BasicAuth(*ACCOUNT)
    for accounts, known, unknown in (
        (read_accounts(None), eve, kaethe),
        (read_accounts(path), kaethe, eve),
    ):
        assert accounts is not None
        assert accounts.admit(header_of(known)) and not accounts.admit(header_of(unknown))


def header_of(auth: httpx.BasicAuth) -> str:
    return next(auth.auth_flow(httpx.Request("GET", "http://x"))).headers["authorization"]


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "no accounts"), (b"name\n", "line 1: it is no account"), (b":x", "no account"),
     (b"a:b\nc:\n", "line 2"), (b"\xff\xfe", "is UTF-16 text; save it as UTF-8")],
)  # fmt: skip
def test_a_file_of_no_accounts_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    path.write_bytes(content)
    with pytest.raises(InvalidSettingError, match=told):
        read_accounts(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="cannot be read"):
        read_accounts(tmp_path / "nobody")
