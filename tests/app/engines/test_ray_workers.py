"""Engines on a Ray cluster of two nodes on this machine, one of which is killed in the middle."""

import socket
from collections.abc import Iterator
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.engines.engine_slot import EngineKey
from app.engines.model_pool import ModelPool
from app.engines.places import RayPlaces
from app.engines.remote_engine import RemoteEngine, Workers
from app.runs.archive import Archive
from app.runs.handlers import Handlers
from app.runs.run_store import RunStore
from core.errors import ModelUnavailableError, TraceFormatError
from core.runtime.ray_cluster import Cluster, connect, share_of
from core.trace.events import RunFailed, RunFinished
from core.trace.file import Trace
from tests.app.engines.test_workers import MESSAGES, begin, config, until
from tests.app.scripted_engine import ScriptedEngine
from tests.app.scripted_worker import load_scripted_worker
from tests.faults.killed import PATIENCE_S, start_server
from tests.fuzz.served_targets import NUM_TOKENS, answer_of
from tests.own_cache import own_cache
from tests.page_client import PageClient
from tests.tiny_folder import save_tiny_model

cluster_utils = pytest.importorskip(
    "ray.cluster_utils", reason="needs Ray: pip install -r requirements-ray.txt"
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head without processors, and a node for each of two workers."""
    cluster = cluster_utils.Cluster()
    for num_cpus in (0, 1, 1):
        cluster.add_node(num_cpus=num_cpus, object_store_memory=80 << 20, include_dashboard=False)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def places(nodes: Any) -> Iterator[RayPlaces]:
    cluster = Cluster(nodes.address, None, wants_gpu=None)
    ray = connect(cluster)
    share = share_of(ray, cluster)
    assert share == (2, {"num_cpus": 1})
    yield RayPlaces(ray, share)
    ray.shutdown()


def loaded(places: RayPlaces, target: str = "scripted") -> RemoteEngine:
    load = Workers(load_scripted_worker, 2, places)
    return load(EngineKey(target, None), lambda stage, done, total: None)


def test_an_engine_there_gives_the_same_events_stops_and_answers_questions(
    places: RayPlaces,
) -> None:
    engine, here = loaded(places), ScriptedEngine()
    given = list(engine.run(MESSAGES, config(12), should_stop=bool))
    assert given == list(here.run(here.chat_prompt(MESSAGES), config(12), should_stop=bool))
    assert engine.unavailable_reason("layer-skip") == "layer-skip needs other layers."
    trace = Trace()
    for event in engine.run(
        MESSAGES, config(100_000), should_stop=lambda: trace.stats.num_steps >= 3
    ):
        trace.events.append(event)
    assert isinstance(trace.events[-1], RunFinished) and trace.events[-1].reason == "stopped"


def test_what_is_refused_there_is_raised_here_and_its_place_is_free_again(
    places: RayPlaces,
) -> None:
    for _ in range(3):  # more often than there are places
        with pytest.raises(TraceFormatError, match="it is broken") as caught:
            loaded(places, "broken")
        assert caught.value.line_number == 3
    with pytest.raises(ModelUnavailableError, match="was lost on the cluster"):
        loaded(places, "crash")


def test_a_stranger_who_knocks_gets_no_engine(
    places: RayPlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one who says something else nor one who says nothing holds up the worker."""
    doors: list[Any] = []
    strangers: list[Any] = []
    create = socket.create_server

    def seen(*args: Any, **named: Any) -> socket.socket:
        door = create(*args, **named)
        doors.append(door.getsockname())
        silent = socket.create_connection(door.getsockname())
        wrong = socket.create_connection(door.getsockname())
        wrong.sendall(b"\0\0\0\5hello")
        strangers.extend([silent, wrong])
        return door

    monkeypatch.setattr(socket, "create_server", seen)
    monkeypatch.setattr("app.engines.places._PATIENCE_S", 1.0)
    engine = loaded(places)
    assert len(list(engine.run(MESSAGES, config(5), should_stop=bool))) > 5
    with pytest.raises(OSError):
        Client(doors[0], authkey=b"guess")  # it is shut by now
    for stranger in strangers:
        stranger.close()


def test_loading_is_cancelled_while_the_cluster_is_full(places: RayPlaces) -> None:
    held = [loaded(places), loaded(places)]
    pool = ModelPool(Workers(load_scripted_worker, 1, places))
    thread = pool.preload(EngineKey("another", None))
    until(lambda: "waiting for a place on the cluster" in pool.status.text)
    pool.cancel()
    thread.join(PATIENCE_S)
    assert not thread.is_alive() and "cancelled" in pool.status.text
    assert all(engine.is_usable for engine in held)


def node_of(engine: RemoteEngine, nodes: Any) -> Any:
    """The node whose processes have the engine's actor."""
    (worker,) = [
        process for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [""])[0] == "ray::_EngineActor.work"
    ]  # fmt: skip
    ancestors = {process.pid for process in worker.parents()}
    return next(
        node for node in nodes.list_all_nodes()
        if {info.process.pid for infos in node.all_processes.values() for info in infos} & ancestors
    )  # fmt: skip


def test_a_node_that_is_killed_ends_its_run_which_begins_elsewhere(
    places: RayPlaces, nodes: Any, tmp_path: Path
) -> None:
    pool = ModelPool(Workers(load_scripted_worker, 1, places), 1)
    for thread in pool.preload_all(EngineKey("scripted", None)):
        thread.join(PATIENCE_S)
    handlers = Handlers(pool, RunStore(), Archive(tmp_path))
    session = begin(handlers, 2000, "a" * 32)
    engine = pool._slots[0]._engine
    nodes.remove_node(node_of(engine, nodes), allow_graceful=False)
    list(session.messages_left)  # type: ignore[attr-defined]
    run = session.last
    assert run is not None and "was lost on the cluster; it is started again" in run.failure
    trace = run.snapshot()
    assert isinstance(trace.events[-1], RunFailed) and trace.stats.num_tokens > 0
    again = begin(handlers, 8, "a" * 32)
    list(again.messages_left)  # type: ignore[attr-defined]
    assert again.last is not None and again.last.num_tokens == 8 and not again.last.failure
    nodes.add_node(num_cpus=1, object_store_memory=80 << 20, include_dashboard=False)


def test_the_page_answers_from_the_cluster(nodes: Any, tmp_path: Path) -> None:
    target = save_tiny_model(tmp_path / "target")
    home = Path(own_cache(tmp_path / "home"))
    process, address = start_server(home, target, "--ray", nodes.address)
    client = PageClient(address)
    try:
        there = answer_of(client)
        assert there["stats"]["num_tokens"] == NUM_TOKENS
    finally:
        client.close()
        process.kill()
        process.wait()
