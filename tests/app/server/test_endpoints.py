"""The public endpoints through Gradio's own client."""

import hashlib
import json
import re
from collections.abc import Iterator

import pytest
from gradio_client import Client

from app.runs.limits import Limits
from app.runs.visitors import COOKIE
from tests.app.scripted_engine import ScriptedEngine, load_scripted
from tests.browser.served import Served, serve, serve_pool
from tests.mcp_tools import tools_of


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(ScriptedEngine()) as page:
        yield page


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    return Client(served.address, verbose=False)


def settings(mode: str = "ngram") -> str:
    return json.dumps({"mode": mode, "target": "scripted", "max_new_tokens": 10})


def test_only_the_documented_endpoints_are_public(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/generate", "/fork", "/compare", "/list_runs", "/export"}


def test_an_answer_streams_and_ends_with_its_statistics(client: Client) -> None:
    job = client.submit("Hi", settings(), api_name="/generate")
    last = job.result(timeout=60)
    assert last["stats"]["num_tokens"] == 10
    assert last["text"].startswith("Speculative decoding")
    assert last["status"] == "Reached the token limit"
    trace = client.predict(last["run_id"], api_name="/export")
    assert '"specdecodes-trace"' in trace.splitlines()[0]


def test_an_answer_goes_on_from_another_token(client: Client) -> None:
    parent = client.predict("Hi", settings(), api_name="/generate")
    branch = client.predict(parent["run_id"], 2, [9], api_name="/fork")
    assert branch["text"].split()[:2] == parent["text"].split()[:2]
    assert branch["text"] != parent["text"]
    assert branch["stats"]["num_tokens"] == 7
    events = [
        json.loads(line)
        for line in client.predict(branch["run_id"], api_name="/export").splitlines()
    ]
    assert (events[1]["forked_at"], events[1]["prefix_token_ids"][2]) == (2, 9)
    with pytest.raises(Exception, match="no such run"):
        client.predict("nothing-of-that", 2, [9], api_name="/fork")
    with pytest.raises(Exception, match="the position is 99"):
        client.predict(parent["run_id"], 99, [9], api_name="/fork")


def test_a_raw_prompt_is_continued_as_it_is(client: Client, served: Served) -> None:
    raw = json.dumps({**json.loads(settings()), "raw": True})
    client.predict("Once upon", raw, api_name="/generate")
    assert served.engine.prompts[-1] == "Once upon"
    client.predict("Twice upon", [raw], 1, api_name="/compare")
    assert served.engine.prompts[-1] == "Twice upon"
    with pytest.raises(Exception, match="differ in raw"):
        client.predict("Hi", [raw, settings()], 1, api_name="/compare")
    with pytest.raises(Exception, match="raw is 1, which is neither"):
        client.predict("Hi", '{"raw": 1}', api_name="/generate")


def test_the_pages_own_model_answers_where_settings_name_none(client: Client) -> None:
    run_id = client.predict("Hi", '{"max_new_tokens": 10}', api_name="/generate")["run_id"]
    started = json.loads(client.predict(run_id, api_name="/export").splitlines()[1])
    assert started["config"]["target"] == "scripted"
    started = [json.loads(settings("naive")), {"mode": "ngram", "max_new_tokens": 10}]
    rows = client.predict("Hi", [json.dumps(values) for values in started], 1, api_name="/compare")
    assert [row["mode"] for row in rows["rows"]] == ["naive", "ngram"]


def test_ends_and_penalties_are_settings_of_the_endpoints(client: Client) -> None:
    own = {"stop": "END", "sampling": {"presence_penalty": 0.5, "logit_bias": {"5": -100}}}
    given = json.dumps({**json.loads(settings()), **own})
    run_id = client.predict("Hi", given, api_name="/generate")["run_id"]
    config = json.loads(client.predict(run_id, api_name="/export").splitlines()[1])["config"]
    assert config["stop"] == ["END"]
    sampling = config["sampling"]
    assert (sampling["presence_penalty"], sampling["logit_bias"]) == (0.5, ["5=-100"])
    rows = client.predict("Hi", [given], 1, api_name="/compare")["rows"]
    assert [row["mode"] for row in rows] == ["naive", "ngram"]


def test_modes_are_compared_with_plain_decoding(client: Client) -> None:
    result = client.predict("Hi", [settings()], 1, api_name="/compare")
    assert [row["mode"] for row in result["rows"]] == ["naive", "ngram"]


@pytest.mark.parametrize("endpoint", ["generate", "compare"])
def test_a_callers_own_runs_alone_count_against_its_place_in_the_queue(
    endpoint: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All callers of compare once shared one."""
    monkeypatch.setattr(served.handlers, "limits", Limits(most_waiting_each=1))
    one, other = (
        Client(served.address, verbose=False, headers={"Cookie": f"{COOKIE}={name}"})
        for name in ("one", "other")
    )
    given = ["Hi", settings()] if endpoint == "generate" else ["Hi", [settings()], 1]
    ticket = served.handlers.pool.fair_queue.join(hashlib.sha256(b"one").hexdigest()[:32])
    try:
        with pytest.raises(Exception, match="1 runs of yours wait already"):
            one.predict(*given, api_name=f"/{endpoint}")
        job = other.submit(*given, api_name=f"/{endpoint}")
        assert not job.done()
    finally:
        ticket.leave()
    assert job.result(timeout=60)


@pytest.mark.parametrize(
    ("prompt", "given", "told"),
    [
        ("Hi", "[]", "no object"),
        ("Hi", '{"mode": "fast"}', "mode is"),
        (" ", "{}", "empty"),
        ("Hi", '{"stop": [""]}', "stop has a text of 0 characters"),
        ("Hi", '{"sampling": {"logit_bias": {"5": 200}}}', "give TOKEN=NUMBER"),
    ],
)
def test_bad_input_is_refused_in_words(client: Client, prompt: str, given: str, told: str) -> None:
    with pytest.raises(Exception, match=re.escape(told)):
        client.predict(prompt, given, api_name="/generate")


def test_endpoints_are_tools_with_typed_descriptions() -> None:
    with serve_pool(load_scripted(ScriptedEngine()), "scripted", mcp=True) as page:
        tools = tools_of(page.address)
    assert {name.removeprefix("specdecodes_") for name in tools} == {
        "generate", "fork", "compare", "list_runs", "export",
    }  # fmt: skip
    generate = next(tool for name, tool in tools.items() if name.endswith("generate"))
    assert "speculative decoding" in (generate.description or "")
    assert generate.inputSchema["properties"]["prompt"]["type"] == "string"
    assert "user's message" in generate.inputSchema["properties"]["prompt"]["description"]


def test_runs_of_nobody_are_not_listed(client: Client) -> None:
    assert client.predict(api_name="/list_runs") == []
