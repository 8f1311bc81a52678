"""Files of the cache are emptied, cut or overwritten: they are made anew, and answers stay the same."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.engines.engines import load_engine
from app.engines.model_pool import ModelPool
from app.runs.archive import Archive
from app.runs.handlers import Handlers
from app.runs.run_store import RunStore
from app.runs.session import ChatSession
from core.backends.cpu.build import built_library
from core.backends.cpu.library import load_kernels
from core.engine import Engine
from core.loading.loading import load_model
from core.runtime.storage import no_progress
from tests.app.helpers import form_values
from tests.core.conftest import run
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "overwritten": lambda content: b"\xff" * len(content),
    "another JSON": lambda content: b'{"points": [], "layers": "none", "tensors": 7}',
    "zeroed at the end": lambda content: content[:-50] + bytes(min(50, len(content))),
}
SETTINGS: list[dict[str, Any]] = [
    {"mode": "share-sd", "drafter": {"group_size": 32}},
    {"mode": "layer-skip", "drafter": {"num_layers": 2}},
    {"mode": "ngram"},
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "cache"))
    monkeypatch.setattr("core.backends.cost_curve._BUDGET_S", 0.0)
    monkeypatch.setattr("core.backends.cost_curve._STEADY_RATIO", 1e9)
    monkeypatch.setattr("core.backends.cost_curve._STEADY_SHARE", 0.0)


def answers(target: str, settings: dict[str, Any]) -> list[int]:
    engine = Engine(load_model(target, dtype="float32", compile=False))
    return run(engine, max_new_tokens=20, **settings).token_ids


@pytest.mark.parametrize("damage", DAMAGES)
def test_broken_files_are_made_anew(damage: str, tmp_path: Path) -> None:
    target = save_tiny_model(tmp_path / "target")
    expected = [answers(target, settings) for settings in SETTINGS]
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) >= 3, "costs, grids and layer sets are kept"
    for path in files:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert [answers(target, settings) for settings in SETTINGS] == expected


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["emptied", "cut"])
def test_broken_kernels_are_compiled_anew(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path / "alone"))  # others' stay whole
    path = built_library(no_progress)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    load_kernels(no_progress)
    assert len(path.read_bytes()) > 1000


def test_a_model_deleted_under_its_engine_goes_on_in_memory(tmp_path: Path) -> None:
    target = save_tiny_model(tmp_path / "target")
    engine = Engine(load_model(target, dtype="float32", compile=False))
    plain = run(engine)
    for path in (tmp_path / "target").iterdir():
        path.write_bytes(b"")  # also what the system's cache holds of it
        path.unlink()
    engine.forget()
    assert run(engine).token_ids == plain.token_ids
    assert run(engine, **SETTINGS[0]).token_ids == plain.token_ids
    assert run(engine, **SETTINGS[1]).token_ids == plain.token_ids


def test_a_model_deleted_before_the_next_load_is_told_on_the_page(tmp_path: Path) -> None:
    target = save_tiny_model(tmp_path / "target")
    pool = ModelPool(load_engine)
    handlers = Handlers(pool, RunStore(), Archive(tmp_path / "runs"))
    session, values = ChatSession(), form_values("naive", target=target, max_new_tokens=5)
    list(handlers.ask(session, "Hi", "", values))
    assert session.last is not None and session.last.num_tokens == 5
    shutil.rmtree(target)
    list(handlers.ask(session, "Hi", "", {**values, "dtype": "bfloat16"}))
    assert session.last.failure is not None and "there is no model named" in session.last.failure
    save_tiny_model(tmp_path / "target")
    list(handlers.ask(session, "Hi", "", values))
    assert session.last.num_tokens == 5 and session.last.failure is None
