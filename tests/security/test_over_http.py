"""What a visitor might try on the served page."""

import json
import socket
import threading
from collections.abc import Iterator

import httpx
import psutil
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.runs.limits import Limits
from app.server.bodies import MAX_BODY_BYTES, MAX_UPLOAD_BYTES
from app.server.model_routes import model_routes
from app.server.paths import PREFIX
from tests.app.scripted_engine import ScriptedEngine
from tests.browser.served import Served, serve
from tests.fuzz.served_targets import NUM_TOKENS, answer_of
from tests.page_client import PageClient
from tests.visualize.strategies import written
from tests.visualize.trace_builder import CHAIN, make_trace


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(ScriptedEngine()) as served:
        served.handlers.limits = Limits(most_tokens=200_000)
        yield served


@pytest.fixture
def visitor(served: Served) -> Iterator[PageClient]:
    client = PageClient(served.address)
    yield client
    client.close()


def raw_get(address: str, path: str) -> tuple[int, str]:
    """Status and text of a path that no client library tidies up."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1]), answer.decode("utf-8", "replace")


@pytest.mark.parametrize("step", ["..", "%2e%2e", "..%2f", "%2e%2e%2f", "....//", "..%5c", "..%00"])
@pytest.mark.parametrize(
    "place",
    [
        f"/{PREFIX}/static/", f"/{PREFIX}/plotly/", f"/{PREFIX}/runs/", f"/{PREFIX}/archive/",
        f"/{PREFIX}/runs/abcdefgh/", "/gradio_api/file=", "/static/", "/assets/", "/",
    ],
)  # fmt: skip
def test_no_address_leads_out_of_its_folder(served: Served, place: str, step: str) -> None:
    for end in ("etc/passwd", "pyproject.toml", "core/config.py"):
        status, text = raw_get(served.address, f"{place}{(step + '/') * 9}{end}")
        assert status >= 400, text[:300]
        assert "root:" not in text and "[tool.ruff" not in text and "class RunConfig" not in text


@pytest.mark.parametrize("path", ["/etc/passwd", "app.py", "core/config.py", "../../etc/passwd"])
def test_gradio_serves_no_files_of_this_machine(visitor: PageClient, path: str) -> None:
    for form in ("file=", "file/", "stream/x/x/", "proxy="):
        assert visitor.http.get(f"/gradio_api/{form}{path}").status_code >= 400


def test_nobody_stores_files_through_gradio(visitor: PageClient) -> None:
    sent = visitor.http.post("/gradio_api/upload", files={"files": ("a.html", b"<script>")})
    assert sent.status_code == 404


@pytest.mark.parametrize("name", ["/etc", "../../", "~", "a/../../b", "/etc/passwd", "file:///etc"])
def test_models_by_path_are_refused_where_the_operator_forbids_them(
    served: Served, visitor: PageClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.handlers, "limits", Limits(frozenset({"scripted"})))
    for changed in (
        {"setting-target": name},
        {"setting-draft": name, "setting-mode": "sd-classic"},
    ):
        (told,) = visitor.stream("send", message="Hi", **changed)
        assert "is not offered here" in json.loads(told)["notice"]


def test_another_visitors_run_is_not_to_be_had(served: Served, visitor: PageClient) -> None:
    run_id = answer_of(visitor)["run"]
    served.handlers.store.drop([run_id])  # the chat is over; the run is on its visitor's shelf
    other = PageClient(served.address)
    place = f"/{PREFIX}/archive/{run_id}"
    for address in (
        f"{place}/message.json", f"/{PREFIX}/runs/{run_id}/trace.jsonl",
        f"/{PREFIX}/runs/{run_id}/figures.json", f"/{PREFIX}/runs/{run_id}/figures/calibration.csv",
    ):  # fmt: skip
        assert other.http.get(address).status_code == 404
        assert visitor.http.get(address).status_code == 200
    assert other.http.get(f"/{PREFIX}/archive.json").json()["runs"] == []
    compared = other.http.get(f"/{PREFIX}/archive/compare.json?ids={run_id},{run_id}")
    assert compared.status_code == 400
    other.http.patch(place, json={"name": "mine"})
    other.http.delete(place)
    (kept,) = visitor.http.get(f"/{PREFIX}/archive.json").json()["runs"]
    assert (kept["run_id"], kept["name"]) == (run_id, "Hi")
    other.close()


def test_a_cookie_that_is_a_path_names_no_folder(served: Served) -> None:
    with httpx.Client(base_url=served.address) as client:
        client.cookies.set("specdecodes-visitor", "../../../../etc")
        assert client.get(f"/{PREFIX}/archive.json").json()["runs"] == []


EVIL = '"><img src=x onerror=alert(1)>\r\nSet-Cookie: a=b'


def test_names_with_markup_stay_text_and_out_of_the_headers(visitor: PageClient) -> None:
    trace = make_trace(CHAIN, mode=EVIL, prompt_text=EVIL, texts={10: EVIL})
    sent = visitor.http.post(f"/{PREFIX}/archive", params={"name": EVIL}, content=written(trace))
    assert sent.headers["content-type"] == "application/json"
    run_id = sent.json()["run_id"]
    for name in ("trace.jsonl", "steps.csv", "report.html", "perfetto.json"):
        file = visitor.http.get(f"/{PREFIX}/runs/{run_id}/{name}")
        assert file.status_code == 200
        assert "set-cookie" not in file.headers
        disposition = file.headers["content-disposition"]
        assert disposition.startswith("attachment;") and "<" not in disposition
        assert name != "report.html" or "<img src=x" not in file.text


def test_cells_of_a_downloaded_table_are_no_formulas(visitor: PageClient) -> None:
    trace = make_trace(CHAIN, prompt_text="=HYPERLINK(1)", texts={10: "@SUM(1)", 11: "-2+3"})
    visitor.http.post(f"/{PREFIX}/archive", content=written(trace)).raise_for_status()
    for table in ("runs", "tokens", "nodes"):
        text = visitor.http.get(f"/{PREFIX}/archive/{table}.csv").text
        cells = [cell.strip('"') for line in text.splitlines() for cell in line.split(",")]
        assert not [cell for cell in cells if cell.startswith(("=", "@", "-2"))]


@pytest.mark.parametrize("declares", [True, False], ids=["declared", "in chunks"])
@pytest.mark.parametrize(
    ("path", "most"),
    [(f"/{PREFIX}/archive", MAX_UPLOAD_BYTES), (f"/{PREFIX}/models/load", MAX_BODY_BYTES),
     ("/gradio_api/queue/join", MAX_BODY_BYTES)],
)  # fmt: skip
def test_a_gigabyte_is_refused_before_it_is_read(
    served: Served, visitor: PageClient, path: str, most: int, declares: bool
) -> None:
    host, port = served.address.removeprefix("http://").split(":")
    before = psutil.Process().memory_info().rss
    head = "Content-Length: 1000000000" if declares else "Transfer-Encoding: chunked"
    cookie = f"Cookie: specdecodes-visitor={visitor.http.cookies['specdecodes-visitor']}"
    sent = 0
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: h\r\n{cookie}\r\n{head}\r\n\r\n".encode()
        )
        block = b" " * 1_000_000
        piece = block if declares else b"%x\r\n%s\r\n" % (len(block), block)
        answer = b""
        try:
            while sent < 1_000_000_000 and not answer:
                connection.sendall(piece)
                sent += len(block)
                connection.setblocking(False)
                try:
                    answer = connection.recv(4096)
                except BlockingIOError:
                    answer = b""
                connection.settimeout(60)
            answer = answer or connection.recv(4096)
        except (BrokenPipeError, ConnectionResetError):  # it hung up on us
            pass
    assert b" 413 " in answer or b" 400 " in answer or not answer
    assert sent < 1_000_000_000
    assert psutil.Process().memory_info().rss - before < 5 * most + 100_000_000
    assert visitor.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("body", ["[" * 200_000, '{"name":' * 200_000, "[" * 999 + "]" * 999])
def test_deeply_nested_bodies_are_refused_in_words(visitor: PageClient, body: str) -> None:
    place = f"/{PREFIX}/archive"
    run_id = answer_of(visitor)["run"]
    assert visitor.http.post(place, content=body).status_code == 400
    assert visitor.http.patch(f"{place}/{run_id}", content=body).status_code == 400
    assert visitor.http.post(f"/{PREFIX}/models/load", content=body).status_code == 400


def test_a_deep_description_in_a_trace_is_refused(visitor: PageClient) -> None:
    lines = written(make_trace(CHAIN)).splitlines()
    values = json.loads(lines[1])
    values["config"] = {"a": "DEEP"}
    lines[1] = json.dumps(values).replace('"DEEP"', "[" * 500 + "]" * 500)
    refused = visitor.http.post(f"/{PREFIX}/archive", content="\n".join(lines))
    assert refused.status_code == 400
    assert "nested deeper" in refused.text


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('{"sampling": {"temperature": NaN}}', "temperature is nan"),
        ('{"sampling": {"top_p": Infinity}}', "top_p is inf"),
        ('{"sampling": {"seed": 1e400}}', "seed is inf"),
        ('{"max_new_tokens": 1' + "0" * 4000 + "}", "max_new_tokens is 1000"),
        ('{"max_new_tokens": 1' + "0" * 5000 + "}", "cannot be used"),
        ('{"max_new_tokens": 1000000}', "at most 200000"),
    ],
    ids=["nan", "inf", "exponent", "digits", "more digits", "many"],
)
def test_numbers_that_are_none_are_refused_in_words(
    visitor: PageClient, settings: str, told: str
) -> None:
    joined = visitor.http.post("/gradio_api/call/generate", json={"data": ["Hi", settings]})
    event_id = joined.json()["event_id"]
    answer = visitor.http.get(f"/gradio_api/call/generate/{event_id}").text
    assert "event: error" in answer and told in answer and len(answer) < 2000


def test_a_reader_who_takes_nothing_does_not_hold_the_engine(
    served: Served, visitor: PageClient
) -> None:
    function = visitor.function("send")
    changed = {"message": "Much", "setting-mode": "ngram", "setting-max-new-tokens": 3000}
    body = {
        "data": visitor.values(function, changed),
        "fn_index": function["id"],
        "session_hash": visitor.session,
    }
    visitor.http.post("/gradio_api/queue/join", json=body).raise_for_status()
    query = {"session_hash": visitor.session}
    with visitor.http.stream("GET", "/gradio_api/queue/data", params=query):
        other = PageClient(served.address)
        assert answer_of(other)["stats"]["num_tokens"] == NUM_TOKENS
        other.close()


def test_a_body_that_never_comes_holds_up_nobody(served: Served, visitor: PageClient) -> None:
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /{PREFIX}/archive HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx"
        connection.sendall(head.encode())
        assert answer_of(visitor)["stats"]["num_tokens"] == NUM_TOKENS


def test_many_who_load_and_cancel_at_once_leave_a_page_that_answers(served: Served) -> None:
    clients = [PageClient(served.address) for _ in range(8)]
    statuses: list[int] = []

    def load_and_cancel(client: PageClient, number: int) -> None:
        for turn in range(5):
            name = "missing" if (number + turn) % 3 == 0 else f"model-{number}-{turn}"
            sent = client.http.post(f"/{PREFIX}/models/load", json={"target": name})
            statuses.append(sent.status_code)
            statuses.append(client.http.post(f"/{PREFIX}/models/cancel").status_code)

    threads = [
        threading.Thread(target=load_and_cancel, args=(client, number))
        for number, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 80
    for client in clients:
        assert answer_of(client)["stats"]["num_tokens"] == NUM_TOKENS
        client.close()
    assert served.handlers.pool.fair_queue.length == 0


def test_loads_take_places_in_the_queue_and_no_more_than_there_are(
    visitor: PageClient, served: Served
) -> None:
    routes = model_routes(served.handlers.pool, Limits(most_waiting=1))
    ticket = served.handlers.pool.fair_queue.join()
    refused = TestClient(Starlette(routes=routes)).post(
        f"/{PREFIX}/models/load", json={"target": "scripted"}
    )
    ticket.leave()
    assert refused.status_code == 400 and "runs wait already" in refused.text


def test_a_trace_beyond_the_largest_size_is_told_so(visitor: PageClient) -> None:
    content = written(make_trace(CHAIN)).encode()
    assert visitor.http.post(f"/{PREFIX}/archive", content=content).status_code == 200
    longer = content.ljust(MAX_UPLOAD_BYTES + 1)
    refused = visitor.http.post(f"/{PREFIX}/archive", content=longer)
    assert refused.status_code == 413 and refused.text.endswith("send less.")
