"""A replay of a profile has the steps of the real run, one by one."""

from pathlib import Path
from typing import Any

import pytest

from core.backends.cpu.library import Kernels
from core.config import RunConfig
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import load_model
from core.profile.replay import Replay
from core.settings import build
from tests.core.conftest import PROMPT
from tests.core.profile.replays import assert_replayed, made_profile, steady_costs

SAMPLED = {"do_sample": True, "temperature": 0.7, "seed": 5}
MODES: dict[str, dict[str, Any]] = {
    "share-sd": {"bits": 4, "group_size": 32},
    "layer-skip": {"layers": ["0", "2"]},
    "sd-classic": {},
    "sd-eagle": {},
    "sd-block": {},
    "sd-medusa": {},
    "hybrid": {"bits": 4, "group_size": 32, "min_match": 2},
}
DRAFTS = {"sd-classic": "draft", "sd-eagle": "head", "sd-block": "block", "sd-medusa": "heads"}
COMMON = {"max_new_tokens": 30, "trace_top_k": 0}


@pytest.fixture(scope="module")
def engine(tiny_home: Path, kernels: Kernels) -> Engine:
    """A tiny target in compiled kernels, whose rows do not hang on their neighbours."""
    return Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=True))


def settings_of(mode: str, home: Path, sampling: dict[str, Any], **drafter: Any) -> dict[str, Any]:
    settings = {**COMMON, "mode": mode, "sampling": sampling}
    settings["drafter"] = {**MODES.get(mode, {}), **drafter}
    if mode in DRAFTS:
        settings["draft"] = str(home / DRAFTS[mode])
    return settings


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("mode", MODES)
def test_chains_of_every_size_are_those_of_real_runs(
    mode: str, sampling: dict[str, Any], engine: Engine, tiny_home: Path
) -> None:
    prompt = engine.raw_prompt(PROMPT)
    profile = made_profile(engine, prompt, settings_of(mode, tiny_home, sampling, depth=5))
    for drafter in ({"depth": 5}, {"depth": 2}, {"num_nodes": 3, "depth": 5}):
        asked = settings_of(mode, tiny_home, sampling, fixed_size=True, **drafter)
        real = assert_replayed(engine, prompt, profile, asked)
        assert any(len(step.token_ids) > 1 for step in real)


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("mode", MODES)
def test_trees_that_were_asked_for_are_those_of_real_runs(
    mode: str, sampling: dict[str, Any], engine: Engine, tiny_home: Path
) -> None:
    prompt = engine.raw_prompt(PROMPT)
    shapes = [
        {**MODES[mode], "fixed_size": True, **shape}
        for shape in (
            {"depth": 4, "branching": 3, "num_nodes": 12},
            {"depth": 3, "branching": 2, "num_nodes": 256},
            {"depth": 4, "branching": 2, "num_nodes": 5},
        )
    ]
    most = settings_of(mode, tiny_home, sampling, depth=4, branching=3)
    profile = made_profile(engine, prompt, most, *shapes)
    for shape in shapes:
        assert_replayed(engine, prompt, profile, {**most, "drafter": shape})


@pytest.mark.parametrize(
    "shape", [{"depth": 5}, {"depth": 4, "branching": 2}], ids=["chain", "tree"]
)
@pytest.mark.parametrize("mode", MODES)
def test_trees_sized_by_cost_are_those_of_real_runs(
    mode: str,
    shape: dict[str, Any],
    engine: Engine,
    tiny_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steady_costs(monkeypatch, target_s=0.01, draft_s=0.002)
    prompt = engine.raw_prompt(PROMPT)
    settings = settings_of(mode, tiny_home, SAMPLED, **shape)
    profile = made_profile(engine, prompt, settings, settings["drafter"])
    real = assert_replayed(engine, prompt, profile, settings)
    assert max(len(step.token_ids) for step in real) > 1


@pytest.mark.parametrize("is_fixed", [True, False], ids=["fixed", "sized"])
@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_lookups_need_nothing_but_the_text(
    sampling: dict[str, Any],
    is_fixed: bool,
    engine: Engine,
    tiny_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steady_costs(monkeypatch, target_s=0.01, draft_s=0.002)
    prompt = engine.raw_prompt(PROMPT)
    profile = made_profile(engine, prompt, settings_of("ngram", tiny_home, sampling))
    assert not profile.positions
    for drafter in (
        {"num_nodes": 4},
        {"num_nodes": 20, "depth": 9, "branching": 5},
        {"min_match": 2, "branching": 1},
    ):
        asked = settings_of("ngram", tiny_home, sampling, fixed_size=is_fixed, **drafter)
        assert_replayed(engine, prompt, profile, asked)


def test_plain_decoding_is_replayed_in_single_tokens(engine: Engine, tiny_home: Path) -> None:
    prompt = engine.raw_prompt(PROMPT)
    profile = made_profile(engine, prompt, {**COMMON, "mode": "naive"})
    assert_replayed(engine, prompt, profile, {**COMMON, "mode": "naive"})


def test_a_shorter_run_ends_where_the_real_one_does(engine: Engine, tiny_home: Path) -> None:
    prompt = engine.raw_prompt(PROMPT)
    settings = settings_of("share-sd", tiny_home, {}, bits=16, depth=6)
    profile = made_profile(engine, prompt, settings)
    shorter = {**settings, "max_new_tokens": 17}
    shorter["drafter"] = {**settings["drafter"], "fixed_size": True}
    steps = assert_replayed(engine, prompt, profile, shorter)
    assert [step.num_emitted for step in steps] == [7, 7, 3]


def test_a_text_that_ends_by_itself_ends_a_replay(engine: Engine, tiny_home: Path) -> None:
    """The end token is drafted, accepted and the last of its step."""
    prompt = engine.raw_prompt(PROMPT)
    settings = settings_of("share-sd", tiny_home, {}, bits=16, depth=6)
    plain = made_profile(engine, prompt, {**COMMON, "mode": "naive"}).token_ids
    end = next(index for index in range(8, 30) if plain.index(plain[index]) == index)
    ids = engine.target.eos_token_ids
    object.__setattr__(engine.target, "eos_token_ids", frozenset({plain[end]}))
    try:
        profile = made_profile(engine, prompt, settings)
        asked = {**settings, "drafter": {**settings["drafter"], "fixed_size": True}}
        steps = assert_replayed(engine, prompt, profile, asked)
    finally:
        object.__setattr__(engine.target, "eos_token_ids", ids)
    assert sum(step.num_emitted for step in steps) == end + 1


def test_a_replay_says_what_the_profile_lacks(engine: Engine, tiny_home: Path) -> None:
    """Nodes that another order of a tree would have expanded are counted, never made up."""
    prompt = engine.raw_prompt(PROMPT)
    settings = settings_of("share-sd", tiny_home, {}, depth=3, branching=2)
    profile = made_profile(engine, prompt, settings)
    for position in profile.positions.values():
        for path in [path for path in position.proposals if path]:
            del position.proposals[path]  # type: ignore[attr-defined]
    asked = settings_of("share-sd", tiny_home, {}, depth=3, branching=2, fixed_size=True)
    replay = Replay(profile, RunConfig.from_dict(asked).drafter)
    assert len(list(replay.steps())) > 0
    assert replay.num_missing > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 6}, "depth is 6 and the profile looked as far as 5"),
        ({"branching": 2}, "branching is 2 and the profile looked as far as 1"),
        ({"bits": 3}, "bits is 3 and the profile was made with 4"),
    ],
)
def test_what_goes_beyond_a_profile_is_refused(
    change: dict[str, Any], message: str, engine: Engine, tiny_home: Path
) -> None:
    settings = settings_of("share-sd", tiny_home, {}, depth=5)
    profile = made_profile(engine, engine.raw_prompt(PROMPT), settings)
    drafter = profile.config.drafter
    assert drafter is not None
    with pytest.raises(InvalidSettingError, match=message):
        Replay(profile, build(type(drafter), {**settings["drafter"], **change}))
    with pytest.raises(InvalidSettingError, match="max_new_tokens is 31"):
        Replay(profile, drafter, max_new_tokens=31)
