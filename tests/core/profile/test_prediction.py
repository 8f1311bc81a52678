"""Predictions of a small profile, number by number; candidates, maps, costs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.backends.cost_curve import CostCurve
from core.errors import InvalidSettingError
from core.modes.ngram import NgramSettings
from core.modes.sd_eagle import EagleSettings
from core.profile.costs import Costs
from core.profile.prediction import (
    Axis,
    Choice,
    Prediction,
    candidates,
    grid_map,
    predict,
    ranked,
)
from core.profile.profile import profile_of
from core.profile.replay import Replay
from core.trace.events import ProfileStarted, RunFailed
from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, make_profile_trace, make_trace

FIXED = EagleSettings(depth=2, num_nodes=4, fixed_size=True)
CHOOSING_S = 0.0004 / 3


def test_costs_are_those_of_the_profiles_own_steps() -> None:
    costs = profile_of(make_profile_trace()).costs
    assert costs.curve == CostCurve((1, 8), (0.01, 0.012))
    assert costs.draft == (0.001, 0.001, 0.002)
    assert costs.pace == pytest.approx(1.0)
    assert costs.level_paces == pytest.approx((2.5, 1.5))  # 2.5 and 1.5 ms, and the curve says 1
    assert costs.rest_s == pytest.approx(0.003)
    assert costs.judging_share == pytest.approx(2 / 3)  # 1 ms each, of 3
    assert costs.choosing_s == pytest.approx(CHOOSING_S)


def test_where_a_device_does_the_steps_forwards_alone_are_known() -> None:
    trace = make_profile_trace()
    events = [
        replace(event, device_steps=True) if isinstance(event, ProfileStarted) else event
        for event in trace.events
    ]
    costs = profile_of(Trace(events)).costs
    assert costs == Costs(
        CostCurve((1, 8), (0.01, 0.012)), (0.001, 0.001, 0.002), choosing_s=0.0, rest_s=0.0
    )


def test_a_right_draft_is_kept_to_its_end() -> None:
    found = predict([profile_of(make_profile_trace())], FIXED)
    assert (found.num_tokens, found.num_steps, found.num_drafted) == (3, 1, 2)
    assert (found.num_tested, found.num_accepted, found.num_missing) == (2, 2, 0)
    assert found.tau == 3.0
    assert found.acceptance_by_depth == [1.0, 1.0]
    assert found.verify_s == pytest.approx(0.01 + 0.002 * 2 / 7)
    assert found.draft_s == pytest.approx(0.0025 + 0.0015 + 2 * CHOOSING_S)
    assert found.tokens_per_s == pytest.approx(3 / found.seconds)


def test_a_shallower_draft_takes_another_step() -> None:
    """The second one stands where the drafter was not asked, for one token remains there."""
    profile = profile_of(make_profile_trace())
    steps = list(Replay(profile, replace(FIXED, depth=1)).steps())
    assert [step.tree.token_ids for step in steps] == [[3, 11], [12]]
    assert [step.num_emitted for step in steps] == [2, 1]
    assert [step.drafter for step in steps] == ["sd-eagle", "sd-eagle"]


def test_a_wrong_draft_is_refused_and_plain_decoding_drafts_nothing() -> None:
    trace = make_profile_trace()
    profile = profile_of(trace)
    profile.positions[0] = profile.positions[1]
    found = predict([profile], replace(FIXED, depth=1))
    assert (found.num_steps, found.num_accepted, found.num_tested) == (3, 0, 2)
    assert found.acceptance_by_depth == [0.0]
    plain = predict([profile], None)
    assert (plain.num_steps, plain.num_drafted, plain.draft_s) == (3, 0, 0.0)
    assert plain.seconds == pytest.approx(3 * 0.013)


def test_sequences_side_by_side_share_forwards_and_nothing_else() -> None:
    costs = profile_of(make_profile_trace()).costs.side_by_side(4)
    assert costs.verify(2) == CostCurve((1, 8), (0.01, 0.012))(8)
    assert costs.draft_of(1) == pytest.approx(0.003)  # 4 rows, one beyond what was measured
    assert costs.rest_s == pytest.approx(0.012)
    found = predict([profile_of(make_profile_trace())], FIXED, lambda profile: costs)
    assert found.tokens_per_s == pytest.approx(4 * 3 / found.seconds)


def test_costs_that_are_scaled_change_sizes_as_well() -> None:
    """Where drafting is dear enough, trees that follow the cost are none."""
    sized = replace(FIXED, fixed_size=False)
    profile = profile_of(make_profile_trace())
    cheap = predict([profile], sized, lambda profile: profile.costs.scaled(draft=0.1))
    dear = predict([profile], sized, lambda profile: profile.costs.scaled(draft=100.0))
    assert cheap.num_drafted > 0
    assert dear.num_drafted == 0
    slow = predict([profile], FIXED, lambda profile: profile.costs.scaled(verify=3.0))
    assert slow.verify_s == pytest.approx(3 * predict([profile], FIXED).verify_s)


def test_candidates_are_the_given_settings_first_and_none_beyond_them() -> None:
    chains = list(candidates(EagleSettings(depth=3)))
    assert chains[0] == EagleSettings(depth=3)
    assert {(each.depth, each.fixed_size) for each in chains} == {
        (depth, fixed) for depth in (1, 2, 3) for fixed in (True, False)
    }
    assert len(chains) == 6
    trees = list(candidates(EagleSettings(depth=2, branching=2, num_nodes=16)))
    assert {each.num_nodes for each in trees if each.branching == 2} == {8, 16}
    assert {each.num_nodes for each in trees if each.branching == 1} == {16}
    assert len(set(trees)) == len(trees)
    lookups = list(candidates(NgramSettings(num_nodes=3)))
    assert {each.num_nodes for each in lookups} == {3, 2}


def test_the_fastest_choice_comes_first() -> None:
    slow, fast = (Prediction(num_tokens=10, verify_s=seconds) for seconds in (2.0, 1.0))
    choices = [Choice(FIXED, slow), Choice(FIXED, fast)]
    assert [choice.prediction for choice in ranked(choices)] == [fast, slow]


def test_a_map_has_a_row_for_each_value_of_y() -> None:
    profiles = [profile_of(make_profile_trace())]
    x, y = Axis("depth", [1, 2]), Axis("batch", [1, 8])
    found = grid_map(profiles, FIXED, x, y)
    taus = [[cell.tau for cell in row] for row in found.cells]
    assert taus == [[1.5, 3.0], [1.5, 3.0]]
    assert found.plain[1][0].verify_s == pytest.approx(3 * 0.012)
    assert found.cells[1][1].batch == 8


def without(trace: Trace, *kinds: type) -> Trace:
    return Trace([event for event in trace.events if not isinstance(event, kinds)])


def failed(trace: Trace) -> Trace:
    return Trace([*trace.events[:-1], make_trace(CHAIN, end="failed").events[-1]])


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (without(make_profile_trace(), ProfileStarted), "not of a profile"),
        (failed(make_profile_trace()), "the profile failed \\(out of memory\\)"),
    ],
)
def test_a_trace_that_is_no_profile_is_refused(trace: Trace, message: str) -> None:
    assert trace.first(RunFailed) is None or "failed" in message
    with pytest.raises(InvalidSettingError, match=message):
        profile_of(trace)


def test_settings_of_another_mode_are_refused() -> None:
    with pytest.raises(InvalidSettingError, match="of another mode than the profile's, sd-eagle"):
        predict([profile_of(make_profile_trace())], NgramSettings())


@pytest.mark.parametrize("draft", [(), (0.5,)])
def test_few_measured_drafts_are_no_error(draft: Sequence[float]) -> None:
    made: Any = Costs(CostCurve((1, 2), (1.0, 1.0)), tuple(draft), 0.0, 0.0)
    assert made.draft_of(7) == (draft[0] if draft else 0.0)
