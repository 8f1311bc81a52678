"""Acceptance rules on single nodes: exact output distributions, and the edges of their inputs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.acceptance.base import judge
from core.acceptance.registry import make_rule
from core.acceptance.rules.match import MatchRule
from core.acceptance.rules.rejection import RejectionRule, rejection_round
from core.acceptance.rules.typical import TypicalRule
from core.acceptance.sampling import TokenDrawer
from core.config import RunConfig, SamplingConfig
from core.drafters.proposals import BestProposer, NoisyProposer, SamplingProposer
from core.trees.tree import DraftTree
from tests.core.acceptance.rule_parts import rule_parts
from tests.scripted import rows_at

CPU = torch.device("cpu")
VOCAB = 4


@st.composite
def distributions(draw: st.DrawFn) -> torch.Tensor:
    """Distributions over four tokens, zeros and certain tokens among them  # [VOCAB]."""
    weights = draw(st.lists(st.sampled_from([0, 0, 1, 2, 5, 50]), min_size=VOCAB, max_size=VOCAB))
    probs = torch.tensor(weights, dtype=torch.float64)
    return probs / probs.sum() if probs.sum() > 0 else torch.eye(VOCAB, dtype=torch.float64)[0]


def output_probs(target: torch.Tensor, draft: torch.Tensor, num_children: int) -> torch.Tensor:
    """Exact distribution of what a node emits: all orders of children drawn without replacement."""
    if num_children == 0 or float(draft.sum()) == 0.0:
        return target
    probs = torch.zeros(VOCAB, dtype=torch.float64)
    for token_id, chance in enumerate(draft.tolist()):
        if chance > 0.0:
            result = rejection_round(target, draft, token_id)
            probs[token_id] += chance * result.accept_prob
            rest = output_probs(result.target_probs, result.draft_probs, num_children - 1)
            probs += chance * (1.0 - result.accept_prob) * rest
    return probs


@given(target=distributions(), draft=distributions(), num_children=st.integers(0, VOCAB))
def test_rounds_of_rejection_emit_the_targets_probs_exactly(
    target: torch.Tensor, draft: torch.Tensor, num_children: int
) -> None:
    torch.testing.assert_close(
        output_probs(target, draft, num_children), target, rtol=1e-9, atol=1e-12
    )


@given(target=distributions(), token_ids=st.lists(st.integers(0, VOCAB - 1), max_size=5))
def test_chosen_children_emit_the_targets_probs_exactly_even_if_drafted_twice(
    target: torch.Tensor, token_ids: list[int]
) -> None:
    """A child that was chosen, not sampled, is a proposal of probability one."""
    probs = torch.zeros(VOCAB, dtype=torch.float64)
    reached, rest = 1.0, target
    for token_id in token_ids:
        certain = torch.eye(VOCAB, dtype=torch.float64)[token_id]
        result = rejection_round(rest, certain, token_id)
        probs[token_id] += reached * result.accept_prob
        reached *= 1.0 - result.accept_prob
        rest = result.target_probs
    torch.testing.assert_close(probs + reached * rest, target, rtol=1e-9, atol=1e-12)


def rule_of(name: str, **settings: object) -> object:
    sampling = SamplingConfig(**{"do_sample": True, **settings})
    return make_rule(name, rule_parts(sampling, VOCAB))


def siblings(*token_ids: int) -> DraftTree:
    tree = DraftTree(0)
    for token_id in token_ids:
        tree.add(0, token_id, 0.25)
    return tree


LOGITS = torch.tensor([[0.0, 4.0, 3.0, -torch.inf]] * 6)


@pytest.mark.parametrize("name", ["match", "rejection", "typical"])
@pytest.mark.parametrize(
    "settings", [{"do_sample": False}, {"do_sample": None, "temperature": 0.0}]
)
def test_every_rule_is_exact_match_when_greedy(name: str, settings: dict[str, object]) -> None:
    rule = rule_of(name, **settings)
    assert isinstance(rule, MatchRule)
    kept = judge(rule, siblings(2, 1), LOGITS, 5, frozenset())
    assert (kept.path, kept.tested) == ([2], [1, 2])
    refused = judge(rule, siblings(2, 0), LOGITS, 5, frozenset())
    assert (refused.path, refused.tested, refused.next_token_id) == ([], [1, 2], 1)


@pytest.mark.parametrize("name", ["match", "rejection"])
@pytest.mark.parametrize("temperature", [1e-30, 1e-8, 1e-3])
def test_a_tiny_temperature_keeps_the_most_probable_token_alone(
    name: str, temperature: float
) -> None:
    for seed in range(20):
        rule = rule_of(name, temperature=temperature, seed=seed)
        assert judge(rule, siblings(2), LOGITS, seed, frozenset()).next_token_id == 1
        assert judge(rule, siblings(1), LOGITS, seed, frozenset()).path == [1]


@pytest.mark.parametrize("name", ["match", "rejection", "typical"])
def test_impossible_drafts_are_refused_and_impossible_tokens_never_drawn(name: str) -> None:
    for seed in range(50):
        rule = rule_of(name, seed=seed)
        judgement = judge(rule, siblings(3), LOGITS, seed, frozenset())
        assert judgement.path == []
        assert judgement.next_token_id != 3
        cut = rule_of(name, seed=seed, top_k=1)
        judgement = judge(cut, siblings(2, 0), LOGITS, seed, frozenset())
        assert (judgement.path, judgement.next_token_id) == ([], 1)


def test_a_duplicate_child_is_refused_without_changing_the_probs() -> None:
    target, draft = torch.tensor([0.1, 0.6, 0.3, 0.0]), torch.tensor([0.7, 0.2, 0.1, 0.0])
    first = rejection_round(target, draft, 0)
    second = rejection_round(first.target_probs, first.draft_probs, 0)
    assert second.accept_prob == 0.0
    assert torch.equal(second.target_probs, first.target_probs)


def test_equal_laws_accept_everything() -> None:
    probs = torch.tensor([0.1, 0.6, 0.3, 0.0])
    for token_id in range(3):
        result = rejection_round(probs, probs, token_id)
        assert result.accept_prob == 1.0
        assert torch.equal(result.target_probs, probs), "a refusal could only be a rounding"


def test_typical_keeps_a_probable_child_and_refuses_an_improbable_one() -> None:
    rule = rule_of("typical")
    assert isinstance(rule, TypicalRule)
    assert judge(rule, siblings(0, 2), LOGITS, 3, frozenset()).path == [2]
    assert judge(rule, siblings(0), LOGITS, 3, frozenset()).path == []


@pytest.mark.parametrize("count", [1, 3, 9])
def test_proposers_give_no_impossible_and_no_double_children(count: int) -> None:
    config = RunConfig(sampling=SamplingConfig(do_sample=True, top_k=2))
    proposers = [SamplingProposer(config, 0), NoisyProposer(config, VOCAB, CPU)]
    for proposer in proposers:
        for proposal in proposer.propose(LOGITS[:2], rows_at(4, 4), count):
            assert set(proposal.token_ids) <= {1, 2}
            assert len(set(proposal.token_ids)) == len(proposal.token_ids) <= count
            assert all(prob > 0 for prob in proposal.probs)
    best = BestProposer().propose(LOGITS[:1], rows_at(4), count)[0]
    assert best.token_ids == [1, 2, 0][:count]


def test_of_tied_logits_the_best_child_is_the_one_that_the_target_takes() -> None:
    """bf16 ties often; a top-k is free to name any of them first."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 3, (40, 500), generator=generator).float()
    for count in (1, 2, 4):
        proposals = BestProposer().propose(logits, rows_at(*[0] * 40), count)
        assert [proposal.token_ids[0] for proposal in proposals] == logits.argmax(-1).tolist()


def test_the_noisy_drafter_draws_what_the_target_draws_from_the_same_probs() -> None:
    config = RunConfig(sampling=SamplingConfig(do_sample=True, temperature=0.7, seed=3))
    drawer = TokenDrawer(config.sampling, VOCAB, CPU)
    proposer = NoisyProposer(config, VOCAB, CPU)
    for position in range(50):
        proposal = proposer.propose(LOGITS[:1], rows_at(position), 2)[0]
        assert proposal.token_ids[0] == drawer.draw(LOGITS[0], position)


def test_sampled_children_are_judged_in_the_order_in_which_they_were_drawn() -> None:
    rule = RejectionRule(rule_parts(SamplingConfig(do_sample=True), VOCAB, seed=1))
    tree = siblings(3, 2)
    tree.sampled_probs[0] = torch.tensor([0.0, 0.0, 0.5, 0.5])
    judgement = judge(rule, tree, LOGITS, 0, frozenset())
    assert judgement.tested[0] == 1


@given(seed=st.integers(0, 200), top_k=st.sampled_from([0, 2]))
def test_under_match_exactly_the_token_whose_noise_reaches_its_threshold_is_kept(
    seed: int, top_k: int
) -> None:
    sampling = SamplingConfig(do_sample=True, temperature=0.7, top_k=top_k, seed=seed)
    rule = MatchRule(rule_parts(sampling, VOCAB, records_noise=True))
    tree = siblings(0, 1, 2, 3)
    judgement = judge(rule, tree, torch.tensor([[1.0, 0.5, 0.0, -1.0]]).repeat(5, 1), 5, set())
    assert len(judgement.trials) == len(judgement.tested)
    for node, trial in zip(judgement.tested, judgement.trials, strict=True):
        assert trial.noise is not None
        reaches = trial.threshold is not None and trial.noise >= trial.threshold - 1e-5
        assert reaches == (node in judgement.path)
        assert top_k == 0 or (trial.threshold is None) == (tree.token_ids[node] >= top_k)


@pytest.mark.parametrize("records", [True, False])
def test_recording_noise_changes_no_draw(records: bool) -> None:
    sampling = SamplingConfig(do_sample=True, seed=3)
    drawer = TokenDrawer(sampling, VOCAB, CPU)
    rule = MatchRule(rule_parts(sampling, VOCAB, records_noise=records))
    logits = torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(1))
    for position in range(40):
        judgement = judge(rule, siblings(1, 2, 3), logits, position, set())
        first = drawer.draw(logits[0], position)
        kept = [siblings(1, 2, 3).token_ids[node] for node in judgement.path[:1]]
        assert kept == [first] if first else judgement.next_token_id == 0
        assert bool(judgement.trials) == records


def test_the_other_rules_tell_their_thresholds() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -1.0]]).repeat(3, 1)
    for name in ("rejection", "typical"):
        judgement = judge(rule_of(name), siblings(3, 1), logits, 5, set())
        assert len(judgement.trials) == len(judgement.tested) > 0
        for node, trial in zip(judgement.tested, judgement.trials, strict=True):
            assert trial.threshold is not None
            if name == "rejection":
                assert trial.noise is not None
                assert (trial.noise < trial.threshold) == (node in judgement.path)
            else:
                assert trial.noise is None


def test_greedy_decoding_has_no_noise() -> None:
    sampling = SamplingConfig()
    rule = make_rule("match", rule_parts(sampling, VOCAB, records_noise=True))
    judgement = judge(rule, siblings(1, 2), torch.zeros(3, VOCAB), 5, set())
    assert judgement.trials == []
