"""Kept runs over HTTP, each visitor's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.runs.handlers import Handlers
from app.runs.session import ChatSession
from app.runs.visitors import COOKIE, VisitorCookie, visitor_of
from app.server.archive_routes import archive_routes
from app.server.model_routes import model_routes
from app.server.paths import PREFIX
from app.server.routes import routes
from tests.app.helpers import form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine

RECORDED = Path(__file__).parents[2] / "core" / "trace" / "traces"


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse(visitor_of(request) or "")


@pytest.fixture
def handlers() -> Handlers:
    return handlers_on(ScriptedEngine())


@pytest.fixture
def client(handlers: Handlers) -> Iterator[TestClient]:
    app = Starlette(
        routes=[
            Route("/", home),
            *archive_routes(handlers.finder),
            *routes(handlers),
            *model_routes(handlers.pool, handlers.limits),
        ],
        middleware=[Middleware(VisitorCookie)],
    )
    with TestClient(app) as client:
        client.get("/")
        yield client


def answer(handlers: Handlers, client: TestClient, num_tokens: int = 6) -> str:
    session = ChatSession()
    session.visitor = client.get("/").text
    list(handlers.ask(session, "Hi", "", form_values(max_new_tokens=num_tokens)))
    return session.runs[0].run_id


def test_a_visitor_gets_one_cookie_for_good(client: TestClient) -> None:
    first = client.cookies[COOKIE]
    assert len(first) >= 30
    assert client.get("/").headers.get("set-cookie") is None
    assert client.cookies[COOKIE] == first


def test_runs_are_listed_for_who_made_them(handlers: Handlers, client: TestClient) -> None:
    run_id = answer(handlers, client)
    listed = client.get(f"/{PREFIX}/archive.json").json()["runs"]
    assert [run["run_id"] for run in listed] == [run_id]
    client.cookies.clear()
    assert client.get(f"/{PREFIX}/archive.json").status_code == 403
    client.get("/")
    assert client.get(f"/{PREFIX}/archive.json").json()["runs"] == []
    assert client.get(f"/{PREFIX}/archive/{run_id}/message.json").status_code in (200, 404)


def test_a_kept_run_outlives_its_chat(handlers: Handlers, client: TestClient) -> None:
    run_id = answer(handlers, client)
    handlers.store.drop([run_id])
    message = client.get(f"/{PREFIX}/archive/{run_id}/message.json").json()
    assert message["status"]["text"] == "Reached the token limit"
    assert message["turn"]["user"] == "Hi"
    client.cookies.clear()
    client.get("/")
    assert client.get(f"/{PREFIX}/archive/{run_id}/message.json").status_code == 404


def test_tables_hold_all_runs(handlers: Handlers, client: TestClient) -> None:
    answer(handlers, client)
    answer(handlers, client)
    table = client.get(f"/{PREFIX}/archive/runs.csv")
    assert len(table.text.splitlines()) >= 3
    assert client.get(f"/{PREFIX}/archive/secrets.csv").status_code == 404


def test_runs_of_every_version_share_a_table_and_the_file_says_what_is_left_out(
    handlers: Handlers, client: TestClient
) -> None:
    """One kept run that did not open once broke the tables over all."""
    run_id = answer(handlers, client)
    handlers.store.drop([run_id])
    for version in (1, 2, 3):
        text = (RECORDED / f"version_{version}.jsonl").read_text(encoding="utf-8")
        kept = client.post(f"/{PREFIX}/archive", content=text).json()
        assert kept["lossy_rule"] == ("typical" if version == 1 else "")
        message = client.get(f"/{PREFIX}/archive/{kept['run_id']}/message.json").json()
        assert message["events"][0]["lossy_rule"] == kept["lossy_rule"]
    whole = client.get(f"/{PREFIX}/archive/runs.csv")
    assert len(whole.text.splitlines()) == 5
    assert 'filename="all-runs.csv"' in whole.headers["content-disposition"]
    visitor = client.get("/").text
    (handlers.archive.place(visitor) / f"{run_id}.jsonl").write_text("broken", encoding="utf-8")
    rest = client.get(f"/{PREFIX}/archive/runs.csv")
    assert len(rest.text.splitlines()) == 4
    assert 'filename="all-but-1-unreadable-runs.csv"' in rest.headers["content-disposition"]
    told = client.get(f"/{PREFIX}/runs/{run_id}/steps.csv")
    assert (told.status_code, told.text[:44]) == (
        400,
        "The trace of this run does not open: line 1:",
    )


def test_what_is_no_trace_is_refused_with_its_line(client: TestClient) -> None:
    refused = client.post(f"/{PREFIX}/archive", content="nonsense")
    assert refused.status_code == 400
    assert refused.text.startswith("line 1:")
    deep = client.post(f"/{PREFIX}/archive", content="[" * 100_000)
    assert deep.status_code == 400


def test_kept_runs_are_compared(handlers: Handlers, client: TestClient) -> None:
    ids = [answer(handlers, client), answer(handlers, client, 4)]
    result = client.get(f"/{PREFIX}/archive/compare.json?ids={','.join(ids)}").json()
    assert len(result["rows"]) == 2
    refused = client.get(f"/{PREFIX}/archive/compare.json?ids={ids[0]}")
    assert refused.status_code == 400
    assert "choose 2 to 4" in refused.text


def test_renaming_and_deleting_ask_for_sensible_values(
    handlers: Handlers, client: TestClient
) -> None:
    run_id = answer(handlers, client)
    address = f"/{PREFIX}/archive/{run_id}"
    assert client.patch(address, json={"name": "New"}).status_code == 200
    assert client.patch(address, json={"name": ""}).status_code == 400
    assert client.patch(address, content="{").status_code == 400
    assert client.delete(address).status_code == 200
    assert client.get(f"/{PREFIX}/archive.json").json()["runs"] == []


def test_models_tell_what_is_there_and_load_by_name(handlers: Handlers, client: TestClient) -> None:
    models = client.get(f"/{PREFIX}/models.json").json()
    assert models["catalogue"][0]["name"] == "smollm2-135m"
    assert models["catalogue"][0]["num_parameters"] == 134_515_008
    assert models["target"] is None
    assert client.post(f"/{PREFIX}/models/load", json={"target": " "}).status_code == 400
    assert client.post(f"/{PREFIX}/models/load", json={"target": "scripted"}).status_code == 200
    ticket = handlers.pool.fair_queue.join()
    assert ticket.wait(10)
    ticket.leave()
    assert client.get(f"/{PREFIX}/models.json").json()["target"] == "scripted"
