"""Engines over tiny random models, in a cache folder of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.config import RunConfig
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Event, RunFailed
from core.trace.file import Trace
from tests.block_drafters import block_drafter
from tests.core.benchmark.completion_server import Script, completion_server
from tests.eagle_heads import eagle3_head
from tests.medusa_heads import hydra_heads
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model
from tests.tiny_models import tiny_model

PROMPT = "The quick brown fox jumps over the lazy dog. The quick brown "


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the models `target`, `draft` (other weights), `shifted` (other ids), `codegen`, and
    `head` and `block`, a random EAGLE head and block drafter for `target`."""
    home = tmp_path_factory.mktemp("models")
    save_tiny_model(home / "target")
    save_tiny_model(home / "draft", seed=1)
    save_tiny_model(home / "shifted", first_id=3)
    save_tiny_model(home / "codegen", "codegen")
    eagle3_head(home / "head", tiny_model("llama").config)
    block_drafter(home / "block", tiny_model("llama").config)
    hydra_heads(home / "heads", tiny_model("llama").config)
    return home


@pytest.fixture(autouse=True)
def own_cache_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read from or written to the user's cache, and costs are measured in no time."""
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path_factory.mktemp("home") / "cache"))
    monkeypatch.setattr("core.backends.cost_curve._BUDGET_S", 0.0)


@pytest.fixture(scope="session")
def engine_of(tiny_home: Path) -> Callable[..., Engine]:
    """Engines by dtype and model, loaded once for all tests."""
    engines: dict[tuple[str, str], Engine] = {}

    def engine_of(dtype: str = "float32", name: str = "target") -> Engine:
        key = (dtype, name)
        if key not in engines:
            engines[key] = Engine(load_model(str(tiny_home / name), dtype=dtype, compile=False))
        return engines[key]

    return engine_of


@pytest.fixture
def script() -> Script:
    """What the server at `url` says."""
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    """Where a server of completions answers."""
    with completion_server(script) as url:
        yield url


def run(engine: Engine, prompt: str = PROMPT, **settings: object) -> Trace:
    """A whole run of a raw prompt; a failure fails the test."""
    config = RunConfig.from_dict({"max_new_tokens": 40, **settings})
    events: list[Event] = list(engine.run(engine.raw_prompt(prompt), config))
    failed = [event for event in events if isinstance(event, RunFailed)]
    assert not failed, failed[0]
    return Trace(events)
