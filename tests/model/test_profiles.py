"""Profiles of the embedded default model in a few tokens; `slow` has every mode."""

from typing import Any

import pytest

from core.engine import Engine
from tests.core.profile.replays import assert_replayed, made_profile
from tests.prompts import PROMPTS

pytestmark = pytest.mark.model

MODES: dict[str, dict[str, Any]] = {
    "hybrid": {"depth": 4},
    "sd-block": {"depth": 4, "branching": 2},
}


@pytest.mark.parametrize("mode", MODES)
def test_a_replay_has_the_steps_of_the_real_run(mode: str, default_engine: Engine) -> None:
    prompt = default_engine.chat_prompt([{"role": "user", "content": PROMPTS[2]}])
    settings: dict[str, Any] = {"mode": mode, "max_new_tokens": 20, "drafter": MODES[mode]}
    profile = made_profile(default_engine, prompt, settings)
    fixed = {**settings, "drafter": {**MODES[mode], "fixed_size": True}}
    steps = assert_replayed(default_engine, prompt, profile, fixed)
    assert any(step.path for step in steps)
