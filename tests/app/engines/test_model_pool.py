"""The pool holds one engine, says what it does, and frees the old one first."""

import gc
import weakref
from typing import Any

import pytest

from app.engines.engine_slot import EngineKey
from app.engines.model_pool import ModelPool
from core.errors import ModelUnavailableError
from tests.app.scripted_engine import ScriptedEngine, load_scripted

KEY = EngineKey("scripted", None)


def engine_of(pool: ModelPool, key: EngineKey) -> Any:
    with pool.slot(key) as slot:
        return slot.engine(key)


def test_an_engine_is_loaded_once_for_a_key() -> None:
    loads: list[EngineKey] = []

    def load(key: EngineKey, progress: Any) -> ScriptedEngine:
        loads.append(key)
        return ScriptedEngine()

    pool = ModelPool(load)
    assert engine_of(pool, KEY) is engine_of(pool, KEY)
    engine_of(pool, EngineKey("scripted", "float32"))
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
    engine_of(pool, KEY)
    engine_of(pool, EngineKey("other", None))
    assert found == [False, False]


def test_a_failure_is_the_status_until_a_model_is_loaded() -> None:
    pool = ModelPool(load_scripted(ScriptedEngine()))
    with pytest.raises(ModelUnavailableError):
        engine_of(pool, EngineKey("missing", None))
    assert pool.status.phase == "failed"
    assert "no model named missing" in pool.status.text
    assert pool.status.failure == pool.status.text
    engine_of(pool, KEY)
    assert pool.status == ("ready", "scripted is ready.", 0, 0, "")


def test_a_failure_beside_a_ready_model_is_told_as_well() -> None:
    pool = ModelPool(load_scripted(ScriptedEngine()), 2)
    engine_of(pool, KEY)
    pool.preload(EngineKey("missing", None)).join()
    assert pool.status.phase == "ready"
    assert "no model named missing" in pool.status.failure


def test_preloading_takes_a_turn_and_gives_it_back() -> None:
    pool = ModelPool(load_scripted(ScriptedEngine()))
    pool.preload(KEY).join(10)
    assert pool.status.phase == "ready"
    assert pool.fair_queue.join().wait(0)


def test_loading_is_cancelled_at_its_next_report_and_can_begin_again() -> None:
    pool = ModelPool(lambda key, progress: load_slowly(key, progress, pool))
    with pytest.raises(ModelUnavailableError, match=r"cancelled; ask or load again\.$"):
        engine_of(pool, EngineKey("cancelled", None))
    assert pool.status.phase == "failed"
    assert engine_of(pool, KEY) is not None
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
    assert pool.fair_queue.join().wait(0)


class LossyEngine(ScriptedEngine):
    is_usable = True


def test_a_lost_engine_is_started_again_behind_its_run() -> None:
    engines: list[LossyEngine] = []

    def load(key: EngineKey, progress: Any) -> LossyEngine:
        engines.append(LossyEngine())
        return engines[-1]

    pool = ModelPool(load)
    with pool.slot(KEY) as slot:
        slot.engine(KEY)
        engines[0].is_usable = False
    ticket = pool.fair_queue.join()
    assert ticket.wait(10)
    assert len(engines) == 2
    assert engine_of(pool, KEY) is engines[1]


def test_every_slot_is_loaded_and_runs_take_those_that_have_their_engine() -> None:
    loads: list[EngineKey] = []

    def load(key: EngineKey, progress: Any) -> ScriptedEngine:
        loads.append(key)
        return ScriptedEngine()

    pool = ModelPool(load, 2)
    for thread in pool.preload_all(KEY):
        thread.join(10)
    assert loads == [KEY, KEY]
    other = EngineKey("other", None)
    first = engine_of(pool, other)
    assert engine_of(pool, other) is first
    with pool.slot(KEY) as one, pool.slot(other) as two:
        assert one.engine(KEY) is not two.engine(other)
    assert loads == [KEY, KEY, other]
    assert pool.status.text in ("scripted is ready.", "other is ready.")


def test_as_many_runs_go_on_at_once_as_there_are_slots() -> None:
    fair_queue = ModelPool(load_scripted(ScriptedEngine()), 2).fair_queue
    tickets = [fair_queue.join() for _ in range(4)]
    assert [ticket.num_ahead() for ticket in tickets] == [0, 0, 1, 2]
    tickets[0].leave()
    assert [ticket.num_ahead() for ticket in tickets[1:]] == [0, 0, 1]


def test_a_server_is_asked_anew_each_time_and_takes_no_place_of_a_loaded_engine() -> None:
    loaded, asked = ScriptedEngine(), []

    def attach(key: EngineKey, progress: Any) -> ScriptedEngine:
        asked.append(key)
        return ScriptedEngine()

    pool = ModelPool(load_scripted(loaded), attach=attach)
    own, server = engine_of(pool, KEY), EngineKey("http://127.0.0.1:1", None)
    assert engine_of(pool, server) is not engine_of(pool, server)
    assert asked == [server, server]
    assert pool.target == server.target and pool.status.text == "http://127.0.0.1:1 is ready."
    assert engine_of(pool, KEY) is own is loaded
    assert pool.target == "scripted"


def test_a_server_that_does_not_answer_is_the_status_and_leaves_the_pool_well() -> None:
    def attach(key: EngineKey, progress: Any) -> ScriptedEngine:
        raise ModelUnavailableError("nobody answers there.")

    pool = ModelPool(load_scripted(ScriptedEngine()), attach=attach)
    own = engine_of(pool, KEY)
    pool.preload(EngineKey("http://127.0.0.1:1", None)).join()
    assert (pool.status.phase, pool.status.text) == ("failed", "nobody answers there.")
    assert pool.is_healthy and engine_of(pool, KEY) is own and pool.status.phase == "ready"
