"""The interface beside the page: the same engine and queue, in streams that come as they are made."""

import time
from typing import Any

import httpx
import openai
import pytest

from app.runs.limits import Limits
from app.server.accounts import Accounts
from tests.app.api.served_api import serve_api
from tests.app.scripted_engine import ScriptedEngine, load_scripted
from tests.browser.served import serve_pool

HI: Any = [{"role": "user", "content": "Hi"}]


def test_a_stream_comes_step_by_step_beside_the_page() -> None:
    """Whatever the page's own server does to its answers, such as compress them."""
    engine = ScriptedEngine(step_s=0.05)
    with serve_pool(load_scripted(engine), "scripted", with_api=True) as page:
        body = {"model": "scripted", "messages": HI, "max_tokens": 40, "stream": True}
        times = []
        headers = {"accept-encoding": "gzip, deflate, br"}
        with httpx.stream(
            "POST", f"{page.address}/v1/chat/completions", json=body, headers=headers
        ) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    times.append(time.monotonic())
        assert times[-1] - times[0] > 0.05 * (len(times) - 5) > 0.2
        assert "SpecDecodes" in httpx.get(page.address).text, "and the page is there as ever"


def test_accounts_guard_both() -> None:
    accounts = Accounts({"ada": "secret"})
    engine = ScriptedEngine()
    with serve_pool(load_scripted(engine), "scripted", accounts=accounts, with_api=True) as page:
        assert httpx.get(f"{page.address}/v1/models").json()["error"]["code"] == "invalid_api_key"
        assert httpx.get(page.address).status_code == 401
        client = openai.OpenAI(base_url=f"{page.address}/v1", api_key="ada:secret")
        assert next(iter(client.models.list())).id == "scripted"


OPEN_WEBUI = [
    # A turn of a chat, with and without what its settings add.
    {"stream": True, "model": "scripted", "messages": HI},
    {
        "stream": True,
        "stream_options": {"include_usage": True},
        "model": "scripted",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Again"},
        ],
        "temperature": 0.8,
        "top_p": 0.9,
        "max_tokens": 16,
        "frequency_penalty": 0.5,
        "seed": 42,
        "stop": ["\n\n\n\n"],
    },
    # The title of a chat, and what it asks in the background.
    {"stream": False, "model": "scripted", "messages": HI, "max_completion_tokens": 1000},
    {"stream": False, "model": "scripted", "messages": HI},
]


@pytest.mark.parametrize("body", OPEN_WEBUI, ids=["chat", "settings", "title", "task"])
def test_what_open_webui_sends_is_answered(body: dict[str, Any]) -> None:
    """Its requests as its server makes them for any OpenAI-compatible one."""
    limits = Limits(most_tokens=1000)
    with serve_api(load_scripted(ScriptedEngine()), "scripted", limits=limits) as api:
        headers = {"Authorization": "Bearer key", "content-type": "application/json"}
        answer = httpx.post(f"{api.address}/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200
        if body["stream"]:
            assert answer.text.endswith("data: [DONE]\n\n")
            assert '"finish_reason":"length"' in answer.text
        else:
            assert answer.json()["choices"][0]["message"]["content"]
        models = httpx.get(f"{api.address}/v1/models", headers=headers).json()["data"]
        assert models[0]["id"] == "scripted"
