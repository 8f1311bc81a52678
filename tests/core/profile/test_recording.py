"""What a profile records, where it ends, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.backends.cpu.library import Kernels
from core.config import RunConfig
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import load_model
from core.profile.profile import profile_of
from core.profile.recording import growing_part
from core.profile.replay import Replay
from core.trace.events import ProfileStarted, Proposed, RunFailed, RunFinished, TokenTexts
from core.trace.file import Trace
from tests.core.conftest import PROMPT, run
from tests.core.profile.replays import assert_replayed, made_profile, real_steps, replayed_steps
from tests.scripted import ScriptedDrafter, tree_from

EngineOf = Callable[..., Engine]
SHARE = {"bits": 4, "group_size": 32}


@pytest.fixture(scope="module")
def engine(tiny_home: Path, kernels: Kernels) -> Engine:
    return Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=True))


def share_sd(**settings: Any) -> dict[str, Any]:
    drafter = {**SHARE, "depth": 4, "fixed_size": True}
    return {"mode": "share-sd", "max_new_tokens": 24, "drafter": drafter, **settings}


def profile_trace(engine: Engine, settings: dict[str, Any], prompt: str = PROMPT) -> Trace:
    config = RunConfig.from_dict(settings)
    return Trace(list(engine.profile(engine.raw_prompt(prompt), config)))


def test_a_profile_is_plain_decoding_that_tells_what_was_proposed(engine: Engine) -> None:
    trace = profile_trace(engine, share_sd())
    plain = run(engine, max_new_tokens=24)
    assert trace.token_ids == plain.token_ids
    assert (trace.stats.num_steps, trace.stats.num_drafted) == (24, 0)
    started = trace.first(ProfileStarted)
    assert started is not None
    assert (started.config["mode"], started.drafter) == ("share-sd", "share-sd")
    assert len(started.draft_s) == 5, "costs are measured, though sizes are fixed"
    proposed = list(trace.of_kind(Proposed))
    assert [event.step for event in proposed] == list(range(1, 24)), "at the end nothing can be"
    # A chain of four at every place, and shorter where fewer tokens remain.
    assert [len(event.token_ids) - 1 for event in proposed] == [4] * 20 + [3, 2, 1]
    assert proposed[0].level_rows == [1, 1, 1, 1]
    named = {token for event in trace.of_kind(TokenTexts) for token in event.token_ids}
    assert {token for event in proposed for token in event.token_ids} <= named


def test_a_run_after_a_profile_is_as_before(engine: Engine) -> None:
    before = run(engine, **share_sd())
    profile_trace(engine, share_sd())
    assert run(engine, **share_sd()).token_ids == before.token_ids


def test_levels_of_a_tree_have_room_for_other_orders(engine: Engine) -> None:
    settings = share_sd(drafter={**SHARE, "depth": 3, "branching": 2, "fixed_size": True})
    proposed = next(profile_trace(engine, settings).of_kind(Proposed))
    assert proposed.level_rows == [1, 2, 4]
    assert proposed.token_ids[0] == engine.raw_prompt(PROMPT).token_ids[-1]
    assert all(parent < node for node, parent in enumerate(proposed.parents))


def test_a_profile_ends_where_the_context_does(engine: Engine) -> None:
    text = (PROMPT * 20)[:500]
    settings = share_sd(max_new_tokens=100)
    prompt = engine.raw_prompt(text)
    profile = made_profile(engine, prompt, settings)
    assert len(profile.token_ids) == 512 - len(prompt.token_ids) < 100
    assert_replayed(engine, prompt, profile, settings)


def test_a_stopped_profile_is_replayed_as_far_as_it_goes(engine: Engine) -> None:
    settings = share_sd()
    prompt, config = engine.raw_prompt(PROMPT), RunConfig.from_dict(settings)
    trace = Trace()
    for event in engine.profile(prompt, config, should_stop=lambda: len(trace.token_ids) >= 12):
        trace.events.append(event)
    finished = trace.first(RunFinished)
    assert finished is not None and finished.reason == "stopped"
    known = replayed_steps(Replay(profile_of(trace), config.drafter))
    real = real_steps(engine, prompt, settings)
    assert 0 < len(known) < len(real)
    assert known == real[: len(known)]


def test_chains_are_all_that_a_target_without_branches_takes(engine_of: EngineOf) -> None:
    engine = engine_of(name="codegen")
    assert isinstance(engine.can_branch, bool)
    prompt = engine.raw_prompt(PROMPT)
    settings = {"mode": "ngram", "max_new_tokens": 24, "drafter": {"fixed_size": True}}
    profile = made_profile(engine, prompt, settings)
    assert profile.started.can_branch == engine.can_branch
    assert_replayed(engine, prompt, profile, settings)


def test_what_breaks_ends_the_profile_and_is_refused_afterwards(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the drafter tripped")

    monkeypatch.setattr("core.drafters.self_draft.SelfDrafter.commit", broken)
    trace = profile_trace(engine, share_sd(draft_failure="plain"))
    failed = trace.first(RunFailed)
    assert failed is not None and "tripped" in failed.message
    with pytest.raises(InvalidSettingError, match="the profile failed"):
        profile_of(trace)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"mode": "share-sd", "accept": "rejection", "sampling": {"do_sample": True}},
            "accept is rejection, whose text hangs on what is drafted",
        ),
        ({"mode": "share-sd", "stop": ["fox"]}, "stop ends a text within a step"),
        ({"mode": "ngram", "drafter": {"memory": True}}, "memory is on, and a profile knows no"),
    ],
)
def test_a_text_that_hangs_on_more_than_itself_is_refused(
    settings: dict[str, Any], message: str, engine: Engine
) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        engine.profile(engine.raw_prompt(PROMPT), RunConfig.from_dict(settings))


@pytest.mark.parametrize("branching", [1, 2])
def test_penalties_hang_on_the_way_to_a_node(branching: int, engine: Engine) -> None:
    """What is proposed behind a node is corrected by the tokens above it, here and in real runs."""
    drafter = {**SHARE, "depth": 4, "branching": branching, "fixed_size": True}
    sampling = {"repetition_penalty": 1.6, "presence_penalty": 0.5}
    settings = share_sd(drafter=drafter, sampling=sampling)
    prompt = engine.raw_prompt(PROMPT)
    steps = assert_replayed(engine, prompt, made_profile(engine, prompt, settings), settings)
    plain = assert_replayed(engine, prompt, made_profile(engine, prompt, share_sd()), share_sd())
    assert [step.token_ids for step in steps] != [step.token_ids for step in plain]


def test_a_drafter_that_makes_its_trees_by_itself_is_refused() -> None:
    drafter = ScriptedDrafter(lambda token_ids, limits: tree_from(token_ids[-1], [(0, 1)]))
    with pytest.raises(InvalidSettingError, match="mode bigram makes its trees by itself"):
        growing_part(drafter, "bigram")  # type: ignore[arg-type]
