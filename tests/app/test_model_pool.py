"""The pool holds one engine, says what it does, and frees the old one first."""

import gc
import weakref
from typing import Any

import pytest

from app.model_pool import EngineKey, ModelPool
from core.errors import ModelUnavailableError
from tests.app.scripted_engine import ScriptedEngine, load_scripted

KEY = EngineKey("scripted", None)


def test_an_engine_is_loaded_once_for_a_key() -> None:
    loads: list[EngineKey] = []

    def load(key: EngineKey, progress: Any) -> ScriptedEngine:
        loads.append(key)
        return ScriptedEngine()

    pool = ModelPool(load)
    assert pool.engine(KEY) is pool.engine(KEY)
    pool.engine(EngineKey("scripted", "float32"))
    assert loads == [KEY, EngineKey("scripted", "float32")]


def test_the_old_engine_is_gone_before_the_new_one_comes() -> None:
    alive: list[weakref.ref[ScriptedEngine]] = []
    found: list[bool] = []

    def load(key: EngineKey, progress: Any) -> ScriptedEngine:
        gc.collect()
        found.append(any(reference() is not None for reference in alive))
        engine = ScriptedEngine()
        alive.append(weakref.ref(engine))
        return engine

    pool = ModelPool(load)
    pool.engine(KEY)
    pool.engine(EngineKey("other", None))
    assert found == [False, False]


def test_a_failure_is_the_status_until_a_model_is_loaded() -> None:
    pool = ModelPool(load_scripted(ScriptedEngine()))
    with pytest.raises(ModelUnavailableError):
        pool.engine(EngineKey("missing", None))
    assert pool.status.phase == "failed"
    assert "no model named missing" in pool.status.text
    pool.engine(KEY)
    assert pool.status == ("ready", "scripted is ready.", 0, 0)


def test_preloading_takes_a_turn_and_gives_it_back() -> None:
    pool = ModelPool(load_scripted(ScriptedEngine()))
    pool.preload(KEY).join(10)
    assert pool.status.phase == "ready"
    assert pool.turnstile.join().wait(0)


def test_loading_is_cancelled_at_its_next_report_and_can_begin_again() -> None:
    pool = ModelPool(lambda key, progress: load_slowly(key, progress, pool))
    with pytest.raises(ModelUnavailableError, match=r"cancelled; ask or load again\.$"):
        pool.engine(EngineKey("cancelled", None))
    assert pool.status.phase == "failed"
    assert pool.engine(KEY) is not None
    assert pool.status.phase == "ready"


def load_slowly(key: EngineKey, progress: Any, pool: ModelPool) -> ScriptedEngine:
    for done in range(5):
        progress("reading weights", done, 5)
        if key.target == "cancelled" and done == 2:
            pool.cancel()
        assert key.target != "cancelled" or done < 3, "the next report ends it"
    return ScriptedEngine()


def test_a_preload_that_fails_leaves_the_turn_free() -> None:
    pool = ModelPool(load_scripted(ScriptedEngine()))
    pool.preload(EngineKey("missing", None)).join(10)
    assert pool.status.phase == "failed"
    assert pool.turnstile.join().wait(0)
