"""Every mode on the embedded default model: a replay of its profile has the steps of the real run."""

from typing import Any

import pytest

from core.engine import Engine
from core.profile.profile import Profile
from tests.core.profile.replays import assert_replayed, made_profile, steady_costs
from tests.prompts import PROMPTS

pytestmark = pytest.mark.slow

SAMPLED = {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "seed": 11}
SAMPLINGS = pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
OWN: dict[str, dict[str, Any]] = {
    "naive": {},
    "ngram": {},
    "share-sd": {},
    "layer-skip": {"layers": ["0-7", "20-29"]},
    "sd-classic": {},
    "sd-eagle": {},
    "sd-block": {},
    "hybrid": {},
}
CHAINS = [{"depth": 6}, {"depth": 2}, {"depth": 6, "num_nodes": 4}]
TREES = [
    {"depth": 4, "branching": 3, "num_nodes": 24},
    {"depth": 3, "branching": 2, "num_nodes": 7},
    {"depth": 4, "branching": 2, "num_nodes": 256},
]


def settings_of(mode: str, sampling: dict[str, Any], **drafter: Any) -> dict[str, Any]:
    settings = {"mode": mode, "max_new_tokens": 64, "sampling": sampling, "trace_top_k": 0}
    return settings if mode == "naive" else {**settings, "drafter": {**OWN[mode], **drafter}}


def profile_of_question(
    engine: Engine, text: str, settings: dict[str, Any], *asked: dict[str, Any]
) -> tuple[Any, Profile]:
    prompt = engine.chat_prompt([{"role": "user", "content": text}])
    return prompt, made_profile(engine, prompt, settings, *asked)


@SAMPLINGS
@pytest.mark.parametrize("mode", OWN)
def test_fixed_sizes(mode: str, sampling: dict[str, Any], default_engine: Engine) -> None:
    for text in PROMPTS[:2]:
        prompt, profile = profile_of_question(
            default_engine, text, settings_of(mode, sampling, depth=6)
        )
        for shape in CHAINS if mode != "naive" else [{}]:
            fixed = settings_of(mode, sampling, fixed_size=True, **shape)
            assert_replayed(default_engine, prompt, profile, fixed)


@SAMPLINGS
@pytest.mark.parametrize("mode", [mode for mode in OWN if mode != "naive"])
def test_trees(mode: str, sampling: dict[str, Any], default_engine: Engine) -> None:
    shapes = [{**OWN[mode], "fixed_size": True, **shape} for shape in TREES]
    most = settings_of(mode, sampling, depth=4, branching=3)
    for text in PROMPTS[:2]:
        prompt, profile = profile_of_question(default_engine, text, most, *shapes)
        for shape in shapes:
            assert_replayed(default_engine, prompt, profile, {**most, "drafter": shape})


@SAMPLINGS
@pytest.mark.parametrize("shape", [CHAINS[0], TREES[2]], ids=["chain", "tree"])
@pytest.mark.parametrize("mode", [mode for mode in OWN if mode != "naive"])
def test_sizes_by_cost(
    mode: str,
    shape: dict[str, Any],
    sampling: dict[str, Any],
    default_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With costs and a clock that are the same for both: how long choosing takes decides as well."""
    steady_costs(monkeypatch, target_s=0.02, draft_s=0.06)
    settings = settings_of(mode, sampling, **shape)
    for text in PROMPTS[:2]:
        prompt, profile = profile_of_question(default_engine, text, settings)
        assert_replayed(default_engine, prompt, profile, settings)
