"""Models over HTTP."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.runs.limits import Limits
from app.server.model_routes import model_routes
from app.server.paths import PREFIX
from tests.app.helpers import handlers_on
from tests.app.scripted_engine import ScriptedEngine
from tests.core.benchmark.completion_server import Script, completion_server
from tests.tiny_folder import save_tiny_model


def client(limits: Limits | None = None) -> TestClient:
    routes = model_routes(handlers_on(ScriptedEngine()).pool, limits or Limits())
    return TestClient(Starlette(routes=routes))


def size_of(target: str, limits: Limits | None = None) -> tuple[int, str]:
    answer = client(limits).get(f"/{PREFIX}/models/size.json", params={"target": target})
    return answer.status_code, answer.text


def test_a_model_says_what_it_needs_before_it_is_loaded(tmp_path: Path) -> None:
    name = save_tiny_model(tmp_path / "model")
    answer = client().get(f"/{PREFIX}/models/size.json", params={"target": f" {name} "})
    size = answer.json()
    assert size["needed_bytes"]["bfloat16"] == 2 * size["num_parameters"] > 0
    assert size["needed_bytes"]["q4"] < size["needed_bytes"]["q8"] < size["needed_bytes"]["float32"]
    assert size["fetched_bytes"] == 0 and size["free_bytes"] > 0


def test_names_that_lead_nowhere_and_those_not_offered_get_a_sentence(tmp_path: Path) -> None:
    assert size_of("nothing") == (400, size_of("nothing")[1])
    assert "there is no model named 'nothing'" in size_of("nothing")[1]
    assert size_of("")[0] == size_of("x" * 500)[0] == 400
    closed = Limits(models=frozenset({"smollm2-135m"}))
    status, told = size_of(save_tiny_model(tmp_path / "model"), closed)
    assert status == 400 and "is not offered here" in told


def test_the_list_says_the_same_of_the_catalogue() -> None:
    (model,) = client().get(f"/{PREFIX}/models.json").json()["catalogue"]
    assert model["name"] == "smollm2-135m"
    assert model["needed_bytes"]["float32"] == 4 * model["num_parameters"]


def test_a_server_says_what_it_is_where_it_is_allowed() -> None:
    script = Script()
    script.found["/v1/models"] = {"data": [{"id": "tiny", "owned_by": "llamacpp"}]}
    script.found["/props"] = {"build_info": "b1"}
    script.found["/slots"] = [{"speculative": False}]
    with completion_server(script) as url:
        assert size_of(url) == (200, '{"server":"llama-server b1 with tiny; it drafts nothing"}')
        status, told = size_of(url, Limits(servers=frozenset()))
        assert status == 400 and "is not offered here" in told
        num_asked = len(script.headers)
        load = client(Limits(servers=frozenset())).post
        refused = load(f"/{PREFIX}/models/load", json={"target": url})
        assert refused.status_code == 400 and len(script.headers) == num_asked
