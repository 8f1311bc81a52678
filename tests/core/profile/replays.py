"""Real runs beside replays of a profile."""

from typing import Any, NamedTuple

import pytest

from core.backends.cost_curve import CostCurve
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.profile.profile import Profile, profile_of
from core.profile.replay import Replay, ReplayedStep
from core.trace.events import Accepted, Committed, Drafted, RunFailed
from core.trace.file import Trace


class StepFacts(NamedTuple):
    """What decides about the steps behind."""

    drafter: str
    token_ids: list[int]
    parents: list[int]
    draft_probs: list[float]
    path: list[int]
    tested: list[int]
    num_emitted: int


def real_steps(engine: Engine, prompt: Prompt, settings: dict[str, Any]) -> list[StepFacts]:
    """Those of a run."""
    trace = Trace(list(engine.run(prompt, RunConfig.from_dict(settings))))
    assert not list(trace.of_kind(RunFailed))
    kinds = trace.of_kind(Drafted), trace.of_kind(Accepted), trace.of_kind(Committed)
    return [
        StepFacts(
            drafted.drafter,
            drafted.token_ids,
            drafted.parents,
            drafted.draft_probs,
            accepted.path,
            accepted.tested,
            len(committed.token_ids),
        )
        for drafted, accepted, committed in zip(*kinds, strict=True)
    ]


def replayed_steps(replay: Replay) -> list[StepFacts]:
    """Those of a replay, which the profile must know whole."""
    facts = [_facts(step) for step in replay.steps()]
    assert replay.num_missing == 0
    return facts


def _facts(step: ReplayedStep) -> StepFacts:
    tree, judgement = step.tree, step.judgement
    return StepFacts(
        step.drafter,
        tree.token_ids,
        tree.parents,
        tree.draft_probs,
        judgement.path,
        judgement.tested,
        step.num_emitted,
    )


def made_profile(
    engine: Engine, prompt: Prompt, settings: dict[str, Any], *asked: dict[str, Any]
) -> Profile:
    """A profile of these settings; `asked` are drafter settings to be exact for."""
    config = RunConfig.from_dict(settings)
    exact = [RunConfig.from_dict({**settings, "drafter": each}).drafter for each in asked]
    trace = Trace(list(engine.profile(prompt, config, [each for each in exact if each])))
    assert not list(trace.of_kind(RunFailed))
    return profile_of(trace)


def assert_replayed(
    engine: Engine,
    prompt: Prompt,
    profile: Profile,
    settings: dict[str, Any],
) -> list[StepFacts]:
    """A run under these settings has, step by step, the trees and paths of the replay.

    They are equal to the bit, for in compiled kernels the arithmetic of a row does not hang on its
    neighbours.
    """
    config = RunConfig.from_dict(settings)
    real = real_steps(engine, prompt, settings)
    replay = Replay(profile, config.drafter, max_new_tokens=config.max_new_tokens)
    assert replayed_steps(replay) == real
    return real


def steady_costs(monkeypatch: pytest.MonkeyPatch, target_s: float, draft_s: float) -> None:
    """Costs that are the same for a run and its profile: a forward over n rows takes 1 + n * `target_s`
    of the target and `draft_s` of any drafter, and choosing takes no time."""

    def curve(costs: Any, circumstances: Any, runner: Any, forward: Any, words: Any) -> CostCurve:
        if words:
            return CostCurve((1, 64), (draft_s, draft_s * 1.5))
        return CostCurve((1, 64), (1.0 + target_s, 1.0 + 64 * target_s))

    monkeypatch.setattr("core.decoding.measured_costs.MeasuredCosts.curve", curve)
    monkeypatch.setattr("core.drafters.tree_growth.time.perf_counter", lambda: 0.0)
    monkeypatch.setattr("core.drafters.pace.Recent.learn", lambda *_: None)
