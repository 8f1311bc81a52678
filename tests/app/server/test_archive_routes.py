"""Kept runs over HTTP, each visitor's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.runs.comparison import MOST_COMPARED
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


IMPORTS = Path(__file__).parents[2] / "visualize" / "imports" / "files"


def opened(client: TestClient, name: str) -> dict[str, Any]:
    """A file of another program, put on the visitor's shelf."""
    sent = client.post(
        f"/{PREFIX}/archive", params={"name": name}, content=(IMPORTS / name).read_bytes()
    )
    assert sent.status_code == 200, sent.text
    return dict(sent.json())


def test_a_file_of_another_program_is_kept_listed_and_shown(client: TestClient) -> None:
    kept = opened(client, "vllm-responses.jsonl")
    assert client.get(f"/{PREFIX}/archive.json").json()["runs"] == [kept]
    assert (kept["name"], kept["mode"], kept["target"]) == (
        "vllm-responses.jsonl", "vLLM responses", "tiny",
    )  # fmt: skip
    assert (kept["is_import"], kept["outcome"]) == (True, "3 answers, 1 failed")
    assert (kept["num_tokens"], kept["num_tested"]) == (20, 14)
    assert (kept["acceptance_length"], kept["drafted_length"]) == (None, 2.6)
    beside = client.get(f"/{PREFIX}/archive/beside.json?ids={kept['run_id']}&theme=dark").json()
    assert beside["names"] == ["vllm-responses.jsonl"]
    assert [table["name"] for table in beside["tables"]] == [
        "sources", "answers", "answer_steps", "accepted_counts",
    ]  # fmt: skip
    assert set(beside["figures"]) == {
        "accepted_counts", "acceptance_by_position", "acceptance_along_answers",
    }  # fmt: skip
    file = client.get(f"/{PREFIX}/archive/{kept['run_id']}/file")
    assert file.content == (IMPORTS / "vllm-responses.jsonl").read_bytes()
    assert file.headers["content-disposition"].startswith("attachment")


def test_a_file_of_several_benchmarks_tells_how_many(client: TestClient) -> None:
    kept = opened(client, "sglang-bench.jsonl")
    assert (kept["outcome"], kept["num_tokens"]) == ("2 benchmarks", None)


def test_files_of_others_stand_beside_a_run(handlers: Handlers, client: TestClient) -> None:
    ids = ",".join([answer(handlers, client), opened(client, "llama-server.log")["run_id"]])
    beside = client.get(f"/{PREFIX}/archive/beside.json?ids={ids}").json()
    assert beside["names"] == ["ngram", "llama-server.log"]
    table = client.get(f"/{PREFIX}/archive/beside/sources.csv?ids={ids}")
    assert table.text.splitlines()[2].startswith('"llama-server.log","llama.cpp server log"')
    report = client.get(f"/{PREFIX}/archive/beside.html?ids={ids}")
    assert report.headers["content-disposition"].startswith("attachment")
    assert "llama-server.log" in report.text
    wrong = client.get(f"/{PREFIX}/archive/beside/secrets.csv?ids={ids}")
    assert wrong.status_code == 400 and "give one of sources" in wrong.text
    too_many = client.get(f"/{PREFIX}/archive/beside.json?ids={','.join([ids] * 5)}")
    assert too_many.status_code == 400 and "10 files are chosen" in too_many.text


def test_tables_over_all_runs_are_of_runs_alone(handlers: Handlers, client: TestClient) -> None:
    opened(client, "eagle.jsonl")
    answer(handlers, client)
    table = client.get(f"/{PREFIX}/archive/runs.csv")
    assert len(table.text.splitlines()) == 2
    assert "unreadable" not in table.headers["content-disposition"]


def test_files_of_others_are_renamed_deleted_and_nobody_elses(client: TestClient) -> None:
    run_id = opened(client, "eagle.jsonl")["run_id"]
    client.patch(f"/{PREFIX}/archive/{run_id}", json={"name": "a head"})
    beside = f"/{PREFIX}/archive/beside.json?ids={run_id}"
    assert client.get(beside).json()["names"] == ["a head"]
    own = dict(client.cookies)
    client.cookies.clear()
    client.get("/")
    assert client.get(beside).status_code == 400
    assert client.get(f"/{PREFIX}/archive/{run_id}/file").status_code == 404
    client.cookies.clear()
    client.cookies.update(own)
    client.delete(f"/{PREFIX}/archive/{run_id}")
    assert client.get(f"/{PREFIX}/archive/{run_id}/file").status_code == 404
    assert client.get(f"/{PREFIX}/archive.json").json()["runs"] == []


def test_a_broken_file_of_another_program_is_refused_with_its_line(client: TestClient) -> None:
    text = (
        (IMPORTS / "spec-bench.jsonl").read_text("utf-8").replace('"accept_lengths":[1]', '"a":1')
    )
    refused = client.post(f"/{PREFIX}/archive", params={"name": "a.jsonl"}, content=text)
    assert refused.status_code == 400
    assert refused.text == (
        "'a.jsonl', line 3: choices.0.accept_lengths is missing; every line of Spec-Bench answers has "
        "it."
    )
    assert client.get(f"/{PREFIX}/archive.json").json()["runs"] == []


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
    broken = (
        (RECORDED / "version_3.jsonl").read_text("utf-8").replace('"run_started"', '"nonsense"')
    )
    refused = client.post(f"/{PREFIX}/archive", content=broken)
    assert refused.status_code == 400
    assert refused.text.startswith("line 2: unknown event kind")
    refused = client.post(f"/{PREFIX}/archive", content="nonsense")
    assert refused.status_code == 400
    assert refused.text.startswith("'file' is of no kind that is read here; give a trace, or")
    deep = client.post(f"/{PREFIX}/archive", content="[" * 100_000)
    assert deep.status_code == 400


def test_kept_runs_are_compared(handlers: Handlers, client: TestClient) -> None:
    ids = [answer(handlers, client), answer(handlers, client, 4)]
    result = client.get(f"/{PREFIX}/archive/compare.json?ids={','.join(ids)}").json()
    assert len(result["rows"]) == 2
    refused = client.get(f"/{PREFIX}/archive/compare.json?ids={ids[0]}")
    assert refused.status_code == 400
    assert "choose 2 to 16" in refused.text
    assert client.get(f"/{PREFIX}/archive.json").json()["most_compared"] == MOST_COMPARED
    many = [answer(handlers, client, number) for number in range(10, 8 + MOST_COMPARED)]
    result = client.get(f"/{PREFIX}/archive/compare.json?ids={','.join(ids + many)}").json()
    assert len(result["rows"]) == MOST_COMPARED
    refused = client.get(f"/{PREFIX}/archive/compare.json?ids={','.join([*ids, *many, ids[0]])}")
    assert refused.status_code == 400


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
