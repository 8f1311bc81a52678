"""Errors in OpenAI's form: what cannot be honoured, what the operator does not allow, what breaks."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from app.runs.limits import Limits
from app.server.accounts import Accounts
from tests.app.api.served_api import ServedApi, serve_api
from tests.app.scripted_engine import ScriptedEngine, load_scripted

HI: Any = [{"role": "user", "content": "Hi"}]
CHAT = "chat/completions"
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def scripted() -> Iterator[ServedApi]:
    with serve_api(load_scripted(ScriptedEngine()), "scripted") as api:
        yield api


def post(api: ServedApi, path: str, body: Any, **given: Any) -> httpx.Response:
    named = {"json": body} if not isinstance(body, str) else {"content": body}
    headers = {"content-type": "application/json", **given.pop("headers", {})}
    return httpx.post(f"{api.address}/v1/{path}", **named, headers=headers, timeout=60, **given)


def refused(answer: httpx.Response) -> tuple[int, Any, str]:
    """Status, field and sentence."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["param"], error["message"]


@pytest.mark.parametrize(
    ("path", "body", "param", "sentence"),
    [
        (CHAT, {"model": "x"}, "messages", "messages is missing; give it."),
        (CHAT, {"messages": HI}, "model", "model is missing"),
        (CHAT, {"messages": []}, "messages", "messages is []; give"),
        (CHAT, {"tool": 1}, "tool", "'tool' is no field that is known here; leave it out."),
        (CHAT, {"tools": [{"type": "function"}]}, "tools", "tools is [{'type': 'function'}]"),
        (CHAT, {"tool_choice": "required"}, "tool_choice", "tool_choice is 'required'"),
        (
            CHAT,
            {"response_format": {"type": "xml"}},
            "response_format.type",
            "response_format.type is 'xml'; give 'text', 'json_object' or 'json_schema'",
        ),
        (
            CHAT,
            {"response_format": {"type": "json_schema"}},
            "response_format",
            "give a json_schema",
        ),
        (
            CHAT,
            {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
            "structured_outputs",
            "2 forms are given",
        ),
        (CHAT, {"structured_outputs": {"xml": "a"}}, "structured_outputs.xml", "is no field"),
        (
            CHAT,
            {"structured_outputs": {"regex": "a"}, "ignore_eos": True},
            None,
            "constraint says where the answer ends",
        ),
        (CHAT, {"n": 0}, "n", "n is 0; give a number greater than or equal to 1"),
        (CHAT, {"n": 1.5}, "n", "n is 1.5; give a valid integer"),
        (CHAT, {"stream": "yes"}, "stream", "stream is 'yes'; give a valid boolean"),
        (CHAT, {"temperature": "hot"}, "temperature", "temperature is 'hot'; give a valid number"),
        (CHAT, {"temperature": -1}, None, "temperature is -1.0; give a value from 0.0 to 100.0"),
        (CHAT, {"top_p": 0}, None, "top_p is 0.0"),
        (CHAT, {"stop": [""]}, None, "stop has a text of 0 characters"),
        (CHAT, {"stop": 5}, "stop", "stop is 5"),
        (CHAT, {"logit_bias": {"5": 101}}, None, "logit_bias has '5=101.0'"),
        (CHAT, {"max_tokens": 0}, None, "max_new_tokens is 0"),
        (CHAT, {"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", "they are one limit"),
        (CHAT, {"max_tokens": 5, "min_tokens": 6}, None, "min_new_tokens is 6"),
        (CHAT, {"top_logprobs": 2}, "top_logprobs", "top_logprobs is no field without logprobs"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "top_logprobs is 21"),
        (CHAT, {"seed": -1}, None, "seed is -1"),
        (CHAT, {"seed": 2**63 - 1, "n": 2}, "seed", "give a smaller one"),
        (CHAT, {"store": True}, "store", "store is True; give false"),
        (CHAT, {"stream_options": {"include_usage": True}}, "stream_options", "without stream"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.0.type",
            "messages.0.content.0.type is 'image_url'; give 'text'",
        ),
        (
            CHAT,
            {"messages": [{"role": "tool", "content": "5"}]},
            "messages.0.role",
            "messages.0.role is 'tool'",
        ),
        (CHAT, {"messages": [{"role": "user", "content": "  "}]}, None, "The chat is empty"),
        (CHAT, {"specdecodes": {"mode": "magic"}}, None, "mode is 'magic'; give one of naive"),
        (CHAT, {"specdecodes": {"seed": 5}}, "specdecodes.seed", "specdecodes has 'seed'"),
        ("completions", {"prompt": ""}, "prompt", "The prompt is empty"),
        ("completions", {"prompt": []}, "prompt", "The prompt is empty"),
        ("completions", {"prompt": ["a", ""]}, "prompt", "The prompt is empty"),
        ("completions", {"prompt": {"a": 1}}, "prompt", "prompt is {'a': 1}"),
        ("completions", {"prompt": ["a"] * 9, "n": 4}, "n", "9 prompts and n 4 make 36 answers"),
        ("completions", {"prompt": "a", "best_of": 3}, "best_of", "answers are not ranked"),
        ("completions", {"prompt": "a", "suffix": "b"}, "suffix", "'suffix' is no field"),
        ("completions", {"prompt": "a", "echo": True, "logprobs": 1}, "echo", "of the prompt"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_told_in_a_sentence(
    scripted: ServedApi, path: str, body: Any, param: str | None, sentence: str
) -> None:
    if "messages" not in body and path == CHAT and param != "messages":
        body = {"messages": HI, **body}
    if param != "model":
        body = {"model": "scripted", **body}
    status, told_param, message = refused(post(scripted, path, body))
    assert (status, told_param) == (400, param)
    assert sentence in message and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize(
    ("body", "sentence"),
    [("{", "The body is not JSON"), ("[]", "The body is no JSON object")],
)
def test_a_body_that_is_no_object_is_told(scripted: ServedApi, body: str, sentence: str) -> None:
    status, _, message = refused(post(scripted, CHAT, body))
    assert status == 400 and sentence in message


def test_only_json_is_read(scripted: ServedApi) -> None:
    """What a page of another site can send without being asked first is no JSON."""
    answer = post(scripted, CHAT, "{}", headers={"content-type": "text/plain"})
    assert refused(answer)[0] == 415


def test_a_body_that_is_too_large_is_not_read(scripted: ServedApi) -> None:
    status, _, message = refused(post(scripted, CHAT, "x" * 8_000_001))
    assert status == 413 and "larger than 8 MB" in message


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "responses"), ("GET", CHAT), ("POST", "embeddings")]
)
def test_what_is_not_there_is_told_with_what_is(
    scripted: ServedApi, method: str, path: str
) -> None:
    status, _, message = refused(httpx.request(method, f"{scripted.address}/v1/{path}"))
    assert status == 404 and f"There is no {method} /v1/{path} here; there are" in message


def test_null_is_absence(scripted: ServedApi) -> None:
    body = {"model": "scripted", "messages": HI, "max_tokens": 2, "stop": None, "tools": None}
    message = {"role": "assistant", "content": "a", "tool_calls": None, "refusal": None}
    body["messages"] = [*HI, message, *HI]
    assert post(scripted, CHAT, body).status_code == 200


def test_the_operators_limits_hold() -> None:
    limits = Limits(models=frozenset({"scripted"}), most_tokens=8, most_nodes=4)
    with serve_api(load_scripted(ScriptedEngine()), "scripted", limits=limits) as api:
        client = api.client()
        assert [model.id for model in client.models.list()] == ["scripted"]
        given: Any = {"model": "scripted", "messages": HI}
        with pytest.raises(openai.NotFoundError, match="model 'gpt' is not offered here"):
            client.chat.completions.create(**{**given, "model": "gpt"})
        with pytest.raises(openai.BadRequestError, match="this page gives at most 8"):
            client.chat.completions.create(**given, max_tokens=9)
        own = {"specdecodes": {"drafter": {"num_nodes": 5}}}
        with pytest.raises(openai.BadRequestError, match="drafts at most 4 tokens"):
            client.chat.completions.create(**given, extra_body=own)
        answer = client.chat.completions.create(
            **given, extra_body={"specdecodes": {"drafter": {"num_nodes": 4}}}
        )
        assert answer.usage is not None and answer.usage.completion_tokens == 8, "the limit"


def test_a_model_that_is_not_there_is_no_fault_of_the_server(scripted: ServedApi) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no model named missing"):
        scripted.client().chat.completions.create(model="missing", messages=HI)


def test_a_full_queue_asks_to_come_back() -> None:
    limits = Limits(most_waiting_each=1)
    engine = ScriptedEngine(step_s=0.05)
    with serve_api(load_scripted(engine), "scripted", limits=limits) as api:
        client = api.client()
        stream = client.completions.create(
            model="scripted", prompt="Hi", max_tokens=10_000, stream=True
        )
        next(iter(stream))
        with pytest.raises(openai.RateLimitError, match="runs of yours wait already"):
            client.completions.create(model="scripted", prompt="Hi")
        stream.close()
        until(lambda: api.handlers.pool.fair_queue.length == 0)
        assert client.completions.create(model="scripted", prompt="Hi").choices[0].text


def test_an_account_is_an_api_key() -> None:
    accounts = Accounts({"ada": "5 & more", "bob": "süß"})
    with serve_api(load_scripted(ScriptedEngine()), "scripted", accounts=accounts) as api:
        with pytest.raises(openai.AuthenticationError, match="an API key is both"):
            api.client(api_key="ada:wrong").models.list()
        assert httpx.get(f"{api.address}/v1/models").status_code == 401
        assert next(iter(api.client(api_key="ada:5 & more").models.list())).id == "scripted"
        for authorization in ("Bearer bob:süß".encode(), b"Bearer ada:5 & more"):
            answer = httpx.get(f"{api.address}/v1/models", headers={"authorization": authorization})
            assert answer.status_code == 200
        basic = httpx.BasicAuth("bob", "süß")
        assert httpx.get(f"{api.address}/v1/models", auth=basic).status_code == 200


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s, "it never came"
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
def test_whoever_goes_away_leaves_no_run_behind(stream: bool) -> None:
    engine = ScriptedEngine(step_s=0.02)
    with serve_api(load_scripted(engine), "scripted") as api:
        body = {"model": "scripted", "messages": HI, "stream": stream, "max_tokens": 10**6}
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.stream("POST", f"{api.address}/v1/{CHAT}", json=body, timeout=0.7) as answer,
        ):
            for number, _ in enumerate(answer.iter_lines()):
                if number == 4:
                    raise httpx.ReadTimeout("that is enough")
        (run,) = api.handlers.store.runs
        until(lambda: run.is_ended)
        assert run.status_text == "Stopped" and run.num_tokens > 0


def test_a_run_that_breaks_is_told_in_and_out_of_a_stream() -> None:
    with serve_api(load_scripted(ScriptedEngine(fail_at=3)), "scripted") as api:
        given: Any = {"model": "scripted", "messages": HI}
        with pytest.raises(openai.InternalServerError, match="The scripted engine broke"):
            api.client().chat.completions.create(**given)
        chunks = []
        with pytest.raises(openai.APIError, match="The scripted engine broke"):
            for chunk in api.client().chat.completions.create(**given, stream=True):
                chunks.append(chunk)
        assert len(chunks) == 4, "whose message it is, and three steps"


def test_a_server_that_ends_says_so_in_the_stream() -> None:
    with serve_api(load_scripted(ScriptedEngine(step_s=0.02)), "scripted") as api:
        stream = api.client().completions.create(
            model="scripted", prompt="Hi", max_tokens=10**6, stream=True
        )
        next(iter(stream))
        threading.Timer(0.1, api.handlers.close).start()
        with pytest.raises(openai.APIError, match="The answer was stopped; ask again"):
            for _ in stream:
                pass
