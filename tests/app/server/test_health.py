"""What watchers of the server read."""

from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.engines.engine_slot import EngineKey
from app.engines.model_pool import ModelPool
from app.runs.handlers import Handlers
from app.runs.session import ChatSession
from app.server.health import health_routes
from tests.app.helpers import form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine


def client(handlers: Handlers) -> TestClient:
    return TestClient(Starlette(routes=health_routes(handlers, with_metrics=True)))


def test_metrics_count_what_the_runs_did() -> None:
    handlers = handlers_on(ScriptedEngine())
    for number in (7, 5):
        list(handlers.ask(ChatSession(), "Hi", "", form_values(max_new_tokens=number)))
    lines = client(handlers).get("/metrics").text.splitlines()
    assert "specdecodes_runs_total 2" in lines
    assert "specdecodes_tokens_total 12" in lines
    assert "specdecodes_queue_length 0" in lines
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['specdecodes_phase_seconds_total{phase="verify"}']) > 0
    steps = int(values["specdecodes_steps_total"])
    # Of each run the first text is no pause; the scripted steps end 20 ms apart.
    assert int(values["specdecodes_text_pause_seconds_count"]) == steps - 2
    assert values['specdecodes_text_pause_seconds_bucket{le="0.05"}'] == str(steps - 2)
    assert values['specdecodes_text_pause_seconds_bucket{le="0.01"}'] == "0"
    assert values["specdecodes_first_text_seconds_count"] == "2"
    assert float(values["specdecodes_text_burst_tokens_sum"]) == 12
    assert int(values["specdecodes_text_burst_tokens_count"]) == steps
    assert "# TYPE specdecodes_text_pause_seconds histogram" in lines
    assert int(values["specdecodes_drafted_total"]) > int(values["specdecodes_accepted_total"])


def test_health_is_503_once_the_model_could_not_be_loaded() -> None:
    handlers = handlers_on(ScriptedEngine())
    assert client(handlers).get("/healthz").json()["status"] == "ok"
    for thread in handlers.pool.preload_all(EngineKey("missing", None)):
        thread.join(10)
    answer = client(handlers).get("/healthz")
    assert answer.status_code == 503
    assert "missing" in answer.json()["model"]


def test_a_visitor_s_missing_model_leaves_the_page_healthy() -> None:
    handlers = handlers_on(ScriptedEngine())
    for thread in handlers.pool.preload_all(EngineKey("scripted", None)):
        thread.join(10)
    list(handlers.ask(ChatSession(), "Hi", "", form_values(target="missing")))
    answer = client(handlers).get("/healthz")
    assert answer.status_code == 200 and "missing" in answer.json()["model"]
    list(handlers.ask(ChatSession(), "Hi", "", form_values(max_new_tokens=3)))
    assert client(handlers).get("/healthz").json()["status"] == "ok"


def test_an_engine_that_breaks_while_loading_is_no_visitor_s_fault() -> None:
    def broken(key: object, progress: object) -> ScriptedEngine:
        raise RuntimeError("CUDA error: no such device")

    handlers = handlers_on(ScriptedEngine())
    handlers.pool = ModelPool(broken)
    handlers.pool.preload(EngineKey("another", None)).join(10)
    assert client(handlers).get("/healthz").status_code == 503
