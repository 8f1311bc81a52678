"""Bodies of any kind for the endpoint: an answer or one sentence, and never a broken server."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.api.asked import ApiOptions
from app.api.fields import ChatAsked, CompletionAsked
from app.api.routes import api_routes
from app.runs.limits import Limits
from core.runtime.strict_json import dumps
from tests.app.helpers import handlers_on
from tests.app.scripted_engine import ScriptedEngine

FIELDS = sorted({*ChatAsked.model_fields, *CompletionAsked.model_fields, "tool", "prompt_logprobs"})
TEXTS = st.text(st.characters(codec=None), max_size=4)  # halves of characters among them
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-3, 40), st.integers(), st.floats(), TEXTS)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "tool"]), "content": JSON}),
    max_size=2,
)
GOOD: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi", "max_tokens": 4,
    "temperature": 0, "n": 2, "stream": True, "logprobs": 1, "seed": 5, "stop": ["x"],
}  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn, path: str) -> dict[str, Any]:
    """Mostly good ones, with a few fields of any kind."""
    cls = ChatAsked if path == "chat/completions" else CompletionAsked
    needed = "messages" if cls is ChatAsked else "prompt"
    names = draw(st.sets(st.sampled_from(sorted(set(GOOD) & set(cls.model_fields)))))
    body = {name: GOOD[name] for name in {*names, needed}}
    if cls is ChatAsked and "logprobs" in body:
        body["logprobs"] = True
    wrong = draw(st.dictionaries(st.sampled_from(FIELDS), JSON | MESSAGES, max_size=2))
    return {"model": "scripted", "max_tokens": 4, **body, **wrong}


@pytest.fixture(scope="module")
def client() -> TestClient:
    handlers = handlers_on(ScriptedEngine())
    handlers.limits = Limits(models=frozenset({"scripted"}), most_tokens=8)
    routes = api_routes(handlers, ApiOptions("scripted", {"mode": "ngram"}, 4))
    return TestClient(Starlette(routes=routes))


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@settings(max_examples=120)
@given(data=st.data())
def test_any_body_is_answered_or_refused_in_a_sentence(
    path: str, client: TestClient, data: st.DataObject
) -> None:
    text = dumps(data.draw(bodies(path)))
    headers = {"content-type": "application/json"}
    answer = client.post(f"/v1/{path}", content=text, headers=headers)
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        message = answer.json()["error"]["message"]
        assert message and "\n" not in message
    elif answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.endswith("data: [DONE]\n\n")
    else:
        assert answer.json()["choices"]
