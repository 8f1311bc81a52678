"""What the server gives besides the page."""

import csv
import io
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.runs.lab_profiles import Asked
from app.runs.lab_run import LabRun
from app.runs.session import ChatSession
from app.runs.visitors import VisitorCookie, visitor_of
from app.server.routes import PREFIX, routes
from tests.app.helpers import form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine


@pytest.fixture
def run_and_client() -> Iterator[tuple[str, TestClient]]:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    list(handlers.ask(session, "=1+1", "", form_values(max_new_tokens=12)))
    with TestClient(Starlette(routes=routes(handlers))) as client:
        yield session.runs[0].run_id, client


def test_tables_and_trace_of_a_run_can_be_downloaded(
    run_and_client: tuple[str, TestClient],
) -> None:
    run_id, client = run_and_client
    tokens = client.get(f"/{PREFIX}/runs/{run_id}/tokens.csv")
    assert tokens.status_code == 200
    assert len(list(csv.DictReader(io.StringIO(tokens.text)))) == 12
    assert 'filename="ngram-tokens.csv"' in tokens.headers["content-disposition"]
    trace = client.get(f"/{PREFIX}/runs/{run_id}/trace.jsonl")
    assert '"specdecodes-trace"' in trace.text.splitlines()[0]


@pytest.mark.parametrize("path", ["unknown/steps.csv", "{run}/passwd", "{run}/..%2Fapp.py"])
def test_nothing_else_is_given(run_and_client: tuple[str, TestClient], path: str) -> None:
    run_id, client = run_and_client
    response = client.get(f"/{PREFIX}/runs/" + path.replace("{run}", run_id))
    assert response.status_code == 404


def test_scripts_are_asked_about_on_every_visit(run_and_client: tuple[str, TestClient]) -> None:
    _, client = run_and_client
    response = client.get(f"/{PREFIX}/static/store.js")
    assert response.headers["cache-control"] == "no-cache"
    assert client.get(f"/{PREFIX}/static/../handlers.py").status_code == 404


def test_a_lab_answers_its_visitor_and_refuses_in_a_sentence() -> None:
    handlers = handlers_on(ScriptedEngine())
    values = form_values("ngram", max_new_tokens=12)
    lab = LabRun(handlers, ["ngram"], [Asked("Hi", "prompt 1")], values, visitor=None, owner=None)
    list(lab.follow())
    handlers.labs.add(lab)
    with TestClient(Starlette(routes=routes(handlers))) as client:
        place = f"/{PREFIX}/labs/{lab.lab_id}"
        assert client.get(f"{place}/answer.json").json()["num_tokens"] == 12
        assert len(client.get(f"{place}/curves.json?theme=dark").json()["figures"]) == 2
        assert client.get(f"{place}/map.json").json()["mode"] == "ngram"
        refused = client.get(f"{place}/answer.json?costs=/etc/passwd")
        assert (refused.status_code, refused.text[:22]) == (400, "costs is '/etc/passwd'")
        gone = client.get(f"/{PREFIX}/labs/another/answer.json")
        assert (gone.status_code, gone.text) == (
            404,
            "This lab is not open any more; open its profiles again under Runs, or measure anew.",
        )


def test_a_lab_is_opened_from_kept_profiles() -> None:
    handlers = handlers_on(ScriptedEngine())
    app = Starlette(
        routes=[
            Route("/", lambda request: PlainTextResponse(visitor_of(request))),
            *routes(handlers),
        ],
        middleware=[Middleware(VisitorCookie)],
    )
    with TestClient(app) as client:
        client.get("/")
        visitor = client.get("/").text
        values = form_values("ngram", max_new_tokens=12)
        asked = [Asked("Hi", "prompt 1")]
        lab = LabRun(handlers, ["ngram"], asked, values, visitor=visitor, owner=None)
        list(lab.follow())
        ids = ",".join(lab.told()["runs"])
        opened = client.post(f"/{PREFIX}/labs.json?ids={ids}").json()
        assert (opened["is_over"], opened["done"]) == (True, 1)
        answer = client.get(f"/{PREFIX}/labs/{opened['lab']}/answer.json").json()
        assert answer["num_tokens"] == 12
        refused = client.post(f"/{PREFIX}/labs.json?ids=nothing-here")
        assert (refused.status_code, refused.text[:22]) == (400, "A profile is not kept ")
        assert client.get(f"/{PREFIX}/labs.json?ids={ids}").status_code == 405
