"""A real engine over a tiny random model, and the interface on it."""

from collections.abc import Iterator

import openai
import pytest

from core.engine import Engine
from core.loading.loading import load_model
from tests.app.api.served_api import ServedApi, serve_api
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Engine]]:
    """Its name and the engine, in a cache of its own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECDECODES_HOME", own_cache(home / "cache"))
        patch.setattr("core.backends.cost_curve._BUDGET_S", 0.0)
        name = save_tiny_model(home / "target")
        yield name, Engine(load_model(name, dtype="float32", compile=False))


@pytest.fixture(scope="package")
def api(tiny: tuple[str, Engine]) -> Iterator[ServedApi]:
    name, engine = tiny
    with serve_api(lambda key, progress: engine, name) as served:
        yield served


@pytest.fixture(scope="package")
def client(api: ServedApi) -> openai.OpenAI:
    return api.client()
