"""A drafter that raises in the middle: the run goes on plain or ends as failed, as set."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config import RunConfig
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Drafted, DrafterFailed, Event, RunFailed
from core.trace.file import Trace, read_trace
from tests.block_drafters import block_drafter
from tests.core.conftest import PROMPT, run
from tests.eagle_heads import eagle3_head
from tests.medusa_heads import hydra_heads
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model
from tests.tiny_models import tiny_model
from tests.visualize.strategies import written

BREAKS_AT = 3
FIXED = {"fixed_size": True, "depth": 3}
MODES: dict[str, dict[str, Any]] = {
    "ngram": {"fixed_size": True},
    "sd-classic": FIXED,
    "sd-eagle": FIXED,
    "sd-block": FIXED,
    "sd-medusa": FIXED,
    "share-sd": {**FIXED, "group_size": 32},
    "layer-skip": {**FIXED, "layers": ["0-1"]},
    "hybrid": {**FIXED, "group_size": 32},
}


class BreakingDrafter:
    """Does a real drafter's work and raises after it, at one call of one method."""

    def __init__(self, drafter: Drafter, method: str):
        self._drafter = drafter
        self._method = method
        self._num_calls = 0

    @property
    def name(self) -> str:
        return self._drafter.name

    @property
    def identity(self) -> dict[str, Any] | None:
        return self._drafter.identity

    def _may_break(self, method: str) -> None:
        if method == self._method:
            self._num_calls += 1
            if self._num_calls == (1 if method == "begin" else BREAKS_AT):
                raise ZeroDivisionError("the drafter tripped\nover two lines")

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        self._drafter.begin(prompt_token_ids, max_length)
        self._may_break("begin")

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> Any:
        tree = self._drafter.draft(root_token_id, limits, cost)
        self._may_break("draft")
        return tree

    def commit(self, outcome: Outcome) -> None:
        self._drafter.commit(outcome)
        self._may_break("commit")

    def finish(self) -> None:
        self._drafter.finish()
        self._may_break("finish")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    save_tiny_model(home / "target")
    save_tiny_model(home / "draft", seed=1)
    eagle3_head(home / "head", tiny_model("llama").config)
    block_drafter(home / "block", tiny_model("llama").config)
    hydra_heads(home / "heads", tiny_model("llama").config)
    return home


@pytest.fixture(scope="module")
def engine(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    patch = pytest.MonkeyPatch()
    patch.setenv("SPECDECODES_HOME", own_cache(tmp_path_factory.mktemp("home") / "cache"))
    engine = Engine(load_model(str(home / "target"), dtype="float32", compile=False), num_kept=4)
    patch.undo()
    return engine


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "cache"))


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    from core.drafters.making import make_drafter

    def at(method: str) -> None:
        def make(context: Any) -> Drafter | None:
            drafter = make_drafter(context)
            return None if drafter is None else BreakingDrafter(drafter, method)

        monkeypatch.setattr("core.engine.make_drafter", make)

    return at


def settings_of(mode: str, home: Path) -> dict[str, Any]:
    names = {"sd-classic": "draft", "sd-eagle": "head", "sd-block": "block", "sd-medusa": "heads"}
    drafts = {mode: str(home / name) for mode, name in names.items()}
    return {"mode": mode, "draft": drafts.get(mode), "drafter": MODES[mode]}


def events_of(engine: Engine, **settings: Any) -> list[Event]:
    config = RunConfig.from_dict({"max_new_tokens": 40, **settings})
    return list(engine.run(engine.raw_prompt(PROMPT), config))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["begin", "draft", "commit"])
def test_the_run_goes_on_plain_with_the_same_tokens(
    engine: Engine, home: Path, breaking: Callable[[str], None], mode: str, method: str
) -> None:
    plain = run(engine)
    engine.forget()
    breaking(method)
    trace = Trace(events_of(engine, **settings_of(mode, home), draft_failure="plain"))
    assert trace.token_ids == plain.token_ids
    (failed,) = trace.of_kind(DrafterFailed)
    assert failed.step == (1 if method == "begin" else BREAKS_AT)
    assert (failed.error, failed.message) == ("ZeroDivisionError", "the drafter tripped")
    later = [event for event in trace.of_kind(Drafted) if event.step > failed.step]
    assert later and {(event.drafter, len(event.token_ids)) for event in later} == {("none", 1)}
    again = read_trace(io.StringIO(written(trace)))
    assert again.first(DrafterFailed) == failed and again.token_ids == plain.token_ids


@pytest.mark.parametrize("mode", MODES)
def test_the_run_ends_as_failed_and_the_next_one_is_whole(
    engine: Engine, home: Path, breaking: Callable[[str], None], mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plain = run(engine)
    breaking("draft")
    trace = Trace(events_of(engine, **settings_of(mode, home)))
    assert isinstance(failed := trace.events[-1], RunFailed)
    assert (failed.step, failed.message) == (BREAKS_AT - 1, "the drafter tripped")
    assert trace.token_ids and trace.token_ids == plain.token_ids[: len(trace.token_ids)]
    monkeypatch.undo()
    assert run(engine, **settings_of(mode, home)).token_ids == plain.token_ids


def test_a_drafter_that_breaks_twice_is_told_once(
    engine: Engine, home: Path, breaking: Callable[[str], None]
) -> None:
    breaking("finish")
    events = events_of(engine, **settings_of("ngram", home), draft_failure="plain")
    assert not [event for event in events if isinstance(event, DrafterFailed)]
