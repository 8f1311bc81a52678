"""What watchers of the server read."""

from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.engine_seat import EngineKey
from app.handlers import Handlers
from app.health import health_routes
from app.session import ChatSession
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
    assert int(values["specdecodes_drafted_total"]) > int(values["specdecodes_accepted_total"])


def test_health_is_503_once_the_model_could_not_be_loaded() -> None:
    handlers = handlers_on(ScriptedEngine())
    assert client(handlers).get("/healthz").json()["status"] == "ok"
    handlers.pool.preload(EngineKey("missing", None)).join(10)
    answer = client(handlers).get("/healthz")
    assert answer.status_code == 503
    assert "missing" in answer.json()["model"]
