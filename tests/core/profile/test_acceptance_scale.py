"""Drafters that are right more or less often than the measured one."""

import math

import pytest

from core.errors import InvalidSettingError
from core.modes.ngram import NgramSettings
from core.modes.sd_eagle import EagleSettings
from core.profile.acceptance_scale import AS_MEASURED, AcceptanceScale, ScaledAnswers, broken
from core.profile.replay import Replay
from core.profile.tally import Tally, tally_of
from tests.core.profile.scripted_profiles import COSTS, chains, scripted_profile

TEXT = list(range(10, 22))
ALWAYS = AcceptanceScale(100.0)
"""Its noise mends every token of the short texts here."""
FULL = EagleSettings(depth=4, fixed_size=True)


def tally(wrong: list[int], scale: AcceptanceScale, settings: EagleSettings = FULL) -> Tally:
    profile = scripted_profile(TEXT, chains(TEXT, 4, wrong))
    return tally_of(profile, settings, COSTS, scale)


@pytest.mark.parametrize("factor", [-0.1, 100.5, math.nan, math.inf])
def test_what_is_no_scale_is_refused(factor: float) -> None:
    with pytest.raises(InvalidSettingError, match="the scale of acceptance is"):
        AcceptanceScale(factor)


@pytest.mark.parametrize(
    ("factor", "rate"), [(0.3, 0.2), (0.75, 0.5), (1.5, 7 / 9), (4.0, 11 / 12)]
)
def test_a_rate_of_two_thirds_is_scaled(factor: float, rate: float) -> None:
    """Of 6,000 answers of which two thirds are right; three deviations are 0.02."""
    answers = ScaledAnswers(AcceptanceScale(factor), [1, 2, 3])
    right = [answers.is_right(position, position % 3 > 0) for position in range(6000)]
    assert sum(right) / 6000 == pytest.approx(rate, abs=0.02)


def test_a_larger_factor_is_right_wherever_a_smaller_one_is() -> None:
    factors = (0.0, 0.2, 0.7, 1.3, 3.0, 100.0)
    every = [ScaledAnswers(AcceptanceScale(factor), [4]) for factor in factors]
    for position in range(200):
        for was_right in (False, True):
            found = [answers.is_right(position, was_right) for answers in every]
            assert found == sorted(found)


def test_noise_hangs_on_place_and_prompt_alone() -> None:
    def rights(prompt: list[int]) -> list[bool]:
        answers = ScaledAnswers(AcceptanceScale(0.5), prompt)
        return [answers.is_right(position, True) for position in range(64)]

    assert rights([1, 2]) == rights([1, 2])
    assert len({tuple(rights(prompt)) for prompt in ([1, 2], [2, 1], [12])}) == 3


def test_a_broken_id_is_none_of_a_text() -> None:
    assert [broken(token_id) for token_id in (0, 7)] == [-2, -9]
    assert broken(broken(7)) == 7


def test_as_measured_nothing_changes() -> None:
    found = tally([3, 7], AS_MEASURED)
    assert [step.num_emitted for step in found.steps] == [4, 4, 4]
    assert found.fates == (["accepted"] * 3 + ["refused"]) * 2 + ["accepted"] * 3 + ["undrafted"]


def test_nothing_is_right_at_0() -> None:
    found = tally([], AcceptanceScale(0.0))
    assert (found.num_steps, found.num_accepted) == (12, 0)
    assert found.fates == ["refused"] * 11 + ["undrafted"]
    assert found.num_drafted == 8 * 4 + 3 + 2 + 1, "the last token of the text is never drafted"


def test_what_a_factor_breaks_is_refused_and_nothing_else() -> None:
    scale = AcceptanceScale(0.6)
    answers = ScaledAnswers(scale, [1, 2])
    kept = [answers.is_right(position, True) for position in range(12)]
    assert 0 < sum(kept) < 12
    found = tally([], scale)
    for position, fate in enumerate(found.fates):
        assert fate == "undrafted" or (fate == "accepted") == kept[position]


def test_behind_a_mended_token_the_drafter_is_asked_anew() -> None:
    """Tokens 3 and 4 are wrong; a chain from 2 on knows nothing behind its wrong token."""
    found = tally([3, 4], ALWAYS)
    assert [step.num_emitted for step in found.steps] == [5, 5, 2]
    assert found.fates.count("refused") == 0
    assert found.num_missing == 0
    only_3 = tally([3], ALWAYS)
    assert [step.num_emitted for step in only_3.steps] == [5, 5, 2]


def test_where_nothing_is_drafted_nothing_is_mended() -> None:
    profile = scripted_profile(TEXT, {0: {(): [99]}})
    found = tally_of(profile, FULL, COSTS, ALWAYS)
    # The first token is mended; behind it the drafter says nothing, and nowhere else either.
    assert [step.num_emitted for step in found.steps] == [2] + [1] * 10
    assert found.fates == ["accepted"] + ["undrafted"] * 11


def test_a_branching_tree_breaks_the_right_child_and_mends_the_best() -> None:
    children = {position: {(): [99, token]} for position, token in enumerate(TEXT)}
    branching = {"depth": 1, "branching": 2}
    profile = scripted_profile(TEXT, children, drafter=branching)
    settings = EagleSettings(depth=1, branching=2, fixed_size=True)
    assert tally_of(profile, settings, COSTS, AS_MEASURED).num_accepted == 6
    assert tally_of(profile, settings, COSTS, AcceptanceScale(0.0)).num_accepted == 0
    wrong = {position: {(): [99, 98]} for position in range(12)}
    profile = scripted_profile(TEXT, wrong, drafter=branching)
    found = tally_of(profile, settings, COSTS, ALWAYS)
    assert found.num_accepted == found.num_tested == 6


def test_sizes_by_cost_follow_what_becomes_of_drafts() -> None:
    """A drafter that is never right is drafted with less and less."""
    sized = EagleSettings(depth=4, fixed_size=False)
    text = list(range(10, 90))
    drafter = {"fixed_size": False}
    profile = scripted_profile(text, chains(text, 4), drafter=drafter)
    good = tally_of(profile, sized, COSTS, AS_MEASURED)
    bad = tally_of(profile, sized, COSTS, AcceptanceScale(0.0))
    assert good.num_drafted / good.num_steps > 3
    assert bad.num_drafted / bad.num_steps < 1


def test_a_lookup_is_broken_and_mended_as_well() -> None:
    text = [5, 6, 7, 8, 9] * 4
    settings = NgramSettings(depth=4, num_nodes=4, branching=1, min_match=1, fixed_size=True)
    drafter = {"num_nodes": 4, "branching": 1, "min_match": 1}
    profile = scripted_profile(text, {}, mode="ngram", drafter=drafter)
    as_measured = tally_of(profile, settings, COSTS, AS_MEASURED)
    assert as_measured.num_accepted > 10
    never = tally_of(profile, settings, COSTS, AcceptanceScale(0.0))
    assert (never.num_accepted, never.num_steps) == (0, 20)
    assert profile.token_ids == text
    # Once 5 has come again 6 is drafted; here 8 stands in its place, and is mended.
    other = [5, 6, 7, 5, 8, 7, 1]
    profile = scripted_profile(other, {}, mode="ngram", drafter=drafter)
    steps = list(Replay(profile, settings, scale=ALWAYS).steps())
    drafted = next(step for step in steps if step.tree.num_drafted)
    assert drafted.tree.token_ids[:3] == [5, 8, 7]
    assert drafted.judgement.path[:2] == [1, 2]


def test_a_lookup_learns_from_what_became_of_its_drafts() -> None:
    text = [5, 6, 7, 8, 9] * 40
    settings = NgramSettings(depth=4, num_nodes=4, branching=1, min_match=1)
    drafter = {"num_nodes": 4, "branching": 1, "min_match": 1, "fixed_size": False}
    profile = scripted_profile(text, {}, mode="ngram", drafter=drafter)
    good = list(Replay(profile, settings).steps())
    bad = list(Replay(profile, settings, scale=AcceptanceScale(0.0)).steps())
    assert all(step.tree.num_drafted == 4 for step in good[-10:-1])
    assert any(step.tree.num_drafted for step in bad[:50])
    assert not any(step.tree.num_drafted for step in bad[-50:])
