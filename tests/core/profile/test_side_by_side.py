"""Several drafters side by side, on profiles whose numbers can be worked out in the head."""

from dataclasses import replace

import pytest

from core.modes.ngram import NgramSettings
from core.modes.sd_eagle import EagleSettings
from core.profile.acceptance_scale import AcceptanceScale
from core.profile.circumstance import OWN_CIRCUMSTANCE, Circumstance
from core.profile.costs import Costs, at_one_pace
from core.profile.prediction import Axis, predict
from core.profile.profile import Profile
from core.profile.replay import Replay
from core.profile.side_by_side import (
    PLAIN,
    Looked,
    curves_along,
    outlook,
    winner,
)
from tests.core.profile.scripted_profiles import COSTS, chains, scripted_profile

TEXT = list(range(10, 34))
SETTINGS = [EagleSettings(depth=depth, fixed_size=True) for depth in (4, 2, 1)]


def looked(wrong: range | tuple[int, ...] = ()) -> Looked:
    return Looked([scripted_profile(TEXT, chains(TEXT, 4, tuple(wrong)))], SETTINGS)


RIGHT, WRONG = looked(), looked(range(24))
HALF = looked(range(1, 24, 2))
"""One token is drafted rightly, the next wrongly."""


def test_an_outlook_tells_the_given_the_best_and_the_slowest() -> None:
    found = outlook("right", RIGHT, OWN_CIRCUMSTANCE)
    assert found.given.settings == found.best.settings == SETTINGS[0]
    assert found.slowest.settings == SETTINGS[2]
    # The best: 4 steps of 5 tokens and one of 4, whose drafts are one shorter.
    seconds = 4 * (4 * 0.002 + 0.014 + 0.001) + (3 * 0.002 + 0.013 + 0.001)
    assert found.best.prediction.seconds == pytest.approx(seconds)
    assert found.plain.seconds == pytest.approx(24 * 0.011)
    assert found.times_plain == pytest.approx(24 * 0.011 / seconds)
    assert not found.device_steps


def test_the_winner_gains_most_and_must_beat_plain_decoding() -> None:
    right, wrong = (outlook(*pair, OWN_CIRCUMSTANCE) for pair in (("r", RIGHT), ("w", WRONG)))
    assert winner([wrong, right]) == "r"
    assert winner([wrong]) == PLAIN


def test_curves_have_a_line_a_drafter_and_tell_the_winners() -> None:
    axis = Axis("verification", (0.01, 1.0, 16.0))
    curves = curves_along(axis, {"half": HALF, "right": RIGHT}, OWN_CIRCUMSTANCE)
    assert curves.winners == [PLAIN, "right", "right"]
    told = curves.to_dict()
    assert [line["mode"] for line in told["lines"]] == ["half", "right"]
    costs = Circumstance("own", verification=16.0)
    best = outlook("right", RIGHT, costs).best.prediction.tokens_per_s
    assert told["lines"][1]["tokens_per_s"][2] == pytest.approx(best)
    assert told["lines"][0]["plain_tokens_per_s"] == told["lines"][1]["plain_tokens_per_s"]


def test_an_axis_takes_the_place_of_what_is_supposed_and_leaves_the_rest() -> None:
    here = Circumstance("own", batch=8, drafting=3.0)
    curves = curves_along(Axis("batch", (1, 8)), {"right": RIGHT}, here)
    for point, batch in zip(curves.outlooks["right"], (1, 8), strict=True):
        assert point.circumstance == here._replace(batch=batch)
    assert curves.outlooks["right"][1].best == outlook("right", RIGHT, here).best


def test_a_scale_moves_drafters_and_not_plain_decoding() -> None:
    never = OWN_CIRCUMSTANCE._replace(scale=AcceptanceScale(0.0))
    found = outlook("right", RIGHT, never)
    assert found.best.prediction.tau == 1.0
    assert found.plain == outlook("right", RIGHT, OWN_CIRCUMSTANCE).plain
    assert winner([found]) == PLAIN


def test_what_is_done_for_each_sequence_alone_is_done_one_after_the_other() -> None:
    """Searches too, and a drafter whose forwards take twice as long is taken to search so long."""
    costs = COSTS.scaled(draft=2.0).side_by_side(4)
    assert costs.lookup_pace == 8.0
    assert costs.rest_s == pytest.approx(0.004)


def test_profiles_of_one_machine_are_taken_at_one_pace() -> None:
    def costs(pace: float, rest_s: float, draft_pace: float) -> Costs:
        paces = (2 * draft_pace, draft_pace)
        return Costs(COSTS.curve, COSTS.draft, 0.001, rest_s, pace=pace, level_paces=paces)

    slow, usual, fast = at_one_pace(
        [costs(2.0, 0.004, 3.0), costs(1.0, 0.001, 1.0), costs(0.5, 0.001, 1.0)]
    )
    assert (slow.pace, usual.pace, fast.pace) == (1.0, 1.0, 1.0)
    assert (slow.rest_s, usual.rest_s, fast.rest_s) == (0.002, 0.002, 0.002)
    assert slow.level_paces == (3.0, 1.5)
    assert usual.level_paces == (2.0, 1.0)
    assert fast.level_paces == (4.0, 2.0)
    assert fast.choosing_s == 0.002
    assert at_one_pace([usual]) == [usual]
    assert at_one_pace([]) == []


def test_a_fixed_size_is_replayed_once_for_all_costs() -> None:
    """What is priced is the sum of what its steps take, at any costs."""
    profile = scripted_profile(TEXT, chains(TEXT, 4, (5, 6)))
    found = {}
    for times in (1.0, 3.0):
        costs = COSTS.scaled(verify=times, draft=2 * times)
        found[times] = predict([profile], SETTINGS[0], lambda _, costs=costs: costs)
    assert found[3.0].num_steps == found[1.0].num_steps
    assert found[3.0].verify_s == pytest.approx(3 * found[1.0].verify_s)
    assert found[3.0].draft_s == pytest.approx(3 * found[1.0].draft_s)
    assert found[3.0].rest_s == found[1.0].rest_s


def test_sizes_by_cost_follow_what_a_run_measures_beside_forwards() -> None:
    """Judging and committing, and not what telling a step takes."""
    sized = replace(SETTINGS[0], fixed_size=False)
    costs = replace(COSTS, draft=(0.05,), rest_s=1.0)
    drafted = {}
    for share in (0.0, 1.0):
        profile = scripted_profile(TEXT, chains(TEXT, 4), drafter=sized.to_dict())
        own = replace(costs, judging_share=share)
        drafted[share] = predict([profile], sized, lambda _, own=own: own).num_drafted
    assert drafted[0.0] == 0
    assert drafted[1.0] > 0


def test_each_level_of_a_draft_has_a_pace_of_its_own() -> None:
    """The last one goes on for deeper levels."""
    costs = replace(COSTS, level_paces=(3.0, 2.0))
    times = [costs.draft_at(level, 1) for level in range(4)]
    assert times == pytest.approx([0.006, 0.004, 0.004, 0.004])
    profile = scripted_profile(TEXT, chains(TEXT, 4))
    found = predict([profile], SETTINGS[0], lambda _: costs)
    assert found.draft_s == pytest.approx(4 * sum(times) + sum(times[:3]))


def test_what_lookups_grew_before_is_what_they_would_grow_anew() -> None:
    """Under other costs and scales, in any order; a fresh profile knows nothing of before."""
    text = [*range(10, 22), *range(10, 22), 7, *range(14, 22), 8, *range(10, 20)]
    sized = NgramSettings()

    def lookups() -> Profile:
        return scripted_profile(text, {}, mode="ngram", drafter=sized.to_dict())

    def steps(profile: Profile, factor: float, verify: float) -> list[tuple[list[int], list[int]]]:
        costs, scale = COSTS.scaled(verify=verify), AcceptanceScale(factor)
        replay = Replay(profile, sized, costs, scale=scale)
        return [(step.tree.token_ids, step.judgement.path) for step in replay.steps()]

    known = lookups()
    asked = [(1.0, 1.0), (0.5, 1.0), (0.5, 0.01), (1.0, 0.01), (4.0, 1.0), (1.0, 1.0)]
    found = [steps(known, *each) for each in asked]
    assert found == [steps(lookups(), *each) for each in asked]
    assert found[0] == found[-1] != found[1]
    assert any(len(token_ids) > 3 for token_ids, _ in found[0])
