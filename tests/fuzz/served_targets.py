"""What the page's server takes over HTTP: addresses, bodies, endpoints and the page's own calls."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from hypothesis import strategies as st

from app.runs.limits import Limits
from app.server.paths import PREFIX
from tests.app.scripted_engine import ScriptedEngine
from tests.browser.served import Served, serve
from tests.fuzz.junk import broken_bytes, odd_texts, odd_values
from tests.fuzz.offline_targets import Target, settings_values
from tests.page_client import PageClient, as_json
from tests.visualize.strategies import written
from tests.visualize.trace_builder import CHAIN, FORK, make_trace

NUM_TOKENS = 12


class Visit(NamedTuple):
    """A served page, a visitor whose run must stay, and one who sends junk."""

    served: Served
    friend: PageClient
    stranger: PageClient
    run_id: str
    trace: str

    @classmethod
    @contextlib.contextmanager
    def begin(cls) -> Iterator["Visit"]:
        """Serves the page and lets the friend ask something, which is kept."""
        with serve(ScriptedEngine()) as served:
            served.handlers.limits = Limits(most_tokens=64)
            friend, stranger = PageClient(served.address), PageClient(served.address)
            run_id = answer_of(friend)["run"]
            trace = friend.http.get(f"/{PREFIX}/runs/{run_id}/trace.jsonl").text
            yield cls(served, friend, stranger, run_id, trace)
            friend.close()
            stranger.close()

    def check_nothing_is_lost(self) -> None:
        """The kept run is whole and still listed, and the page still answers."""
        place = f"/{PREFIX}/archive/{self.run_id}"
        assert self.friend.http.get(f"/{PREFIX}/runs/{self.run_id}/trace.jsonl").text == self.trace
        assert self.friend.http.get(f"{place}/message.json").status_code == 200
        listed = self.friend.http.get(f"/{PREFIX}/archive.json").json()["runs"]
        assert self.run_id in {run["run_id"] for run in listed}
        self.friend.reload()
        assert answer_of(self.friend)["stats"]["num_tokens"] == NUM_TOKENS
        assert self.served.handlers.pool.fair_queue.length == 0


def answer_of(client: PageClient) -> dict[str, Any]:
    """The last message of an answer to a plain question."""
    changed = {"setting-max-new-tokens": NUM_TOKENS, "message": "Hi", "setting-mode": "ngram"}
    *_, last = client.stream("send", **changed)
    message: dict[str, Any] = json.loads(last)
    return message


def check_answer(answer: httpx.Response) -> None:
    assert answer.status_code < 500, f"{answer.status_code}: {answer.text[:300]}"
    assert "Traceback" not in answer.text and 'File "/' not in answer.text


def _upload(sent: tuple[Visit, bytes]) -> None:
    visit, body = sent
    answer = visit.stranger.http.post(f"/{PREFIX}/archive?name=%3Cb%3E", content=body)
    check_answer(answer)
    if answer.status_code == 200:
        run_id = answer.json()["run_id"]
        place = f"/{PREFIX}/archive/{run_id}"
        check_answer(shown := visit.stranger.http.get(f"{place}/message.json"))
        assert shown.status_code == 200
        for name in ("steps.csv", "perfetto.json", "figures.json"):
            check_answer(visit.stranger.http.get(f"/{PREFIX}/runs/{run_id}/{name}"))
        check_answer(visit.stranger.http.delete(place))


class Asked(NamedTuple):
    """A request to an address of the page's own."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


_PATHS = (
    "archive.json", "archive/compare.json", "archive", "archive/{}.csv", "archive/{}",
    "archive/beside.json", "archive/beside.html", "archive/beside/{}.csv", "archive/{}/file",
    "archive/{}/message.json", "runs/{}/figures.json", "runs/{}/figures/{}.csv", "runs/{}/{}",
    "models.json", "models/load", "models/cancel", "status.json", "static/{}", "plotly/{}",
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    path = draw(st.sampled_from(_PATHS))
    words = st.sampled_from(["steps", "trace.jsonl", "x" * 22, "page.js"]) | odd_texts
    while "{}" in path:
        safe = draw(st.sampled_from(["", "/."]))
        word = draw(words).encode("utf-8", "replace")
        path = path.replace("{}", quote(word, safe=safe), 1)
    texts = odd_texts.map(lambda text: text.encode("utf-8", "replace").decode())
    query = draw(st.dictionaries(st.sampled_from(["ids", "name", "theme"]), texts, max_size=2))
    fitting = st.fixed_dictionaries({"target": odd_values, "dtype": odd_values, "name": odd_values})
    method = draw(st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]))
    return Asked(method, f"/{PREFIX}/{path}", query, draw(fitting | odd_values))


def _request(sent: tuple[Visit, Asked]) -> None:
    visit, asked = sent
    address = httpx.URL(f"{visit.served.address}{asked.path}")
    sent_as = as_json(asked.body)
    if isinstance(asked.body, str):  # as it is, so that not all bodies are JSON
        sent_as["content"] = asked.body.encode("utf-8", "replace")
    http = visit.stranger.http
    check_answer(http.request(asked.method, address, params=asked.query, **sent_as))


def _call(sent: tuple[Visit, tuple[str, list[Any]]]) -> None:
    """A public endpoint: asked for, then its answer read to the end."""
    visit, (name, values) = sent
    http = visit.stranger.http
    joined = http.post(f"/gradio_api/call/{name}", **as_json({"data": values}))
    check_answer(joined)
    if joined.status_code == 200:
        check_answer(http.get(f"/gradio_api/call/{name}/{joined.json()['event_id']}"))


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[Any]]:
    """An endpoint with values that nearly fit."""
    name = draw(st.sampled_from(["generate", "generate", "compare", "fork", "export", "list_runs"]))
    short = settings_values().map(lambda values: {"max_new_tokens": 8, **values})
    settings = short.map(json.dumps) | odd_values
    match name:
        case "generate":
            return name, [draw(odd_values), draw(settings)]
        case "compare":
            several = st.lists(settings, max_size=3) | odd_values
            return name, [draw(odd_texts), draw(several), draw(st.just(1) | odd_values)]
        case "fork":
            return name, [draw(odd_values) for _ in range(3)]
        case "export":
            return name, [draw(odd_values)]
    return name, draw(st.lists(odd_values, max_size=1))


def _press(sent: tuple[Visit, tuple[str, dict[str, Any]]]) -> None:
    """One of the page's own buttons, with odd values in its controls."""
    visit, (control, changed) = sent
    client = visit.stranger
    function = client.function(control)
    values = client.values(function, changed)
    if function["queue"]:
        with contextlib.suppress(RuntimeError):  # refused, in words that the stream gave
            for message in client.queue(function, values):
                assert "Traceback" not in str(message)
    else:
        answer = client.predict(function, values)
        # Gradio says 500 for what its own controls refuse before anything of ours is called.
        assert "Traceback" not in answer.text


@st.composite
def presses(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    control = draw(
        st.sampled_from(
            ["send", "send", "retry", "stop", "clear", "comparison-add", "comparison-reset"]
        )
    )
    controls = {
        "send": [
            "message",
            "setting-system",
            "setting-seed",
            "setting-temperature",
            "setting-mode",
        ],
        "retry": ["setting-system", "setting-top-p", "setting-ngram-depth"],
        "comparison-add": ["setting-target", "setting-top-k", "setting-share-sd-keep"],
    }.get(control, [])
    changed = {name: draw(odd_values) for name in controls if draw(st.booleans())}
    if control in ("send", "retry"):
        changed["setting-max-new-tokens"] = 8
    if control == "send":
        changed.setdefault("message", "Hi")
    return control, changed


_TRACE = written(make_trace(CHAIN, FORK)).encode()

SERVED_TARGETS = (
    Target("uploads", broken_bytes(_TRACE), _upload, 600),
    Target("requests", requests(), _request, 1500),
    Target("endpoints", calls(), _call, 800),
    Target("buttons", presses(), _press, 500),
)
