"""The joint distribution of the first three tokens over many seeded runs, against the exact one.

Target and drafter are tables over four tokens, so that the exact distribution is known; drafters choose
their children as in a real run. A rule that favours what was drafted must be caught by the very
test that the lossless ones pass.
"""

from functools import cache
from typing import Any

import pytest
import torch

from core.acceptance.base import AcceptanceRule, judge
from core.acceptance.corrections import Corrections
from core.acceptance.rules.match import MatchRule
from core.acceptance.rules.rejection import RejectionRule
from core.acceptance.sampling import log_probs_under
from core.config import RunConfig, SamplingConfig
from core.drafters.base import DraftLimits
from core.drafters.proposals import CorrectedProposer, NoisyProposer, Proposer, SamplingProposer
from core.drafters.tree_growth import LevelRow, TreeGrower
from core.modes.settings import TreeSettings
from core.trees.tree import DraftTree
from tests.core.acceptance.rule_parts import rule_parts
from tests.scripted import hashed_logits

VOCAB = 4
NUM_TOKENS = 3
NUM_RUNS = 20_000
NUM_RUNS_IN_SHORT = 1_200
CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"temperature": 0.9, "top_k": 3}
PENALTIES: dict[str, Any] = {"frequency_penalty": 0.9, "presence_penalty": 0.7}
CHAIN = TreeSettings(branching=1, depth=3, num_nodes=3, fixed_size=True)
TREE = TreeSettings(branching=2, depth=2, num_nodes=5, fixed_size=True)
# A standard normal variable is above this once in 100,000 times.
HIGHEST_DEVIATION = 4.26

_target_logits_of = hashed_logits(VOCAB, spread=4.0)


@cache
def target_logits(prefix: tuple[int, ...]) -> torch.Tensor:
    """Logits after a prefix  # [VOCAB]."""
    return torch.tensor(_target_logits_of(prefix))


@cache
def draft_logits(prefix: tuple[int, ...]) -> torch.Tensor:
    """Another distribution that is near the target's but not equal  # [VOCAB]."""
    other = torch.tensor(_target_logits_of((*prefix, 7)))
    return 0.3 * target_logits(prefix) + 0.8 * other


def penalised(prefix: tuple[int, ...]) -> torch.Tensor:
    """Logits after a prefix less what its tokens pay  # [VOCAB]."""
    counts = torch.bincount(torch.tensor(prefix, dtype=torch.long), minlength=VOCAB)
    pay = PENALTIES["frequency_penalty"] * counts + PENALTIES["presence_penalty"] * (counts > 0)
    return target_logits(prefix) - pay


@cache
def exact_probs(has_penalties: bool) -> dict[tuple[int, ...], float]:
    """Probability of every possible first three tokens."""
    logits_of = penalised if has_penalties else target_logits
    sampling = SamplingConfig(do_sample=True, **SETTINGS)
    probs = {(): 1.0}
    for _ in range(NUM_TOKENS):
        probs = {
            (*prefix, token_id): prob * chance
            for prefix, prob in probs.items()
            for token_id, chance in enumerate(
                log_probs_under(logits_of(prefix)[None], sampling)[0].exp().tolist()
            )
            if chance > 0.0
        }
    return probs


@pytest.fixture(autouse=True)
def laws_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are few different rows of logits, and computing their distributions is most of the time."""
    known: dict[tuple[float, ...], torch.Tensor] = {}

    def log_probs_of(logits: torch.Tensor, sampling: SamplingConfig) -> torch.Tensor:
        rows = []
        for row in logits:
            key = tuple(row.tolist())
            if key not in known:
                known[key] = log_probs_under(row[None], sampling)[0]
            rows.append(known[key])
        return torch.stack(rows)

    for module in ("core.drafters.proposals", "core.acceptance.sampling"):
        monkeypatch.setattr(f"{module}.log_probs_under", log_probs_of)


def generate(
    rule: AcceptanceRule, proposer: Proposer, shape: TreeSettings, corrections: Corrections
) -> tuple[int, ...]:
    """Three tokens by drafting, judging and committing, as the loop does."""
    token_ids: tuple[int, ...] = ()
    corrections.begin([])
    while len(token_ids) < NUM_TOKENS:
        grower = TreeGrower(shape, proposer, None)
        limits = DraftLimits(256, NUM_TOKENS - len(token_ids) - 1)
        rows: list[tuple[int, ...]] = []

        def forward(
            level: list[LevelRow],
            rows: list[tuple[int, ...]] = rows,
            prefix: tuple[int, ...] = token_ids,
        ) -> torch.Tensor:
            for row in level:
                parent = rows[row.parent_row] if row.parent_row >= 0 else None
                rows.append(prefix if parent is None else (*parent, row.token_id))
            return torch.stack([draft_logits(row) for row in rows[-len(level) :]])

        tree = grower.grow(0, len(token_ids), limits, None, forward)
        logits = [
            target_logits((*token_ids, *tree.path_token_ids(node))) for node in range(len(tree))
        ]
        corrected = corrections.corrected(torch.stack(logits), tree)
        judgement = judge(rule, tree, corrected, len(token_ids), frozenset())
        assert judgement.next_token_id is not None
        emitted = [*(tree.token_ids[node] for node in judgement.path), judgement.next_token_id]
        corrections.commit(emitted)
        token_ids += tuple(emitted)
    return token_ids[:NUM_TOKENS]


class BiasedRule(RejectionRule):
    """Keeps a child as often as the target would say it, and else draws from the whole target."""

    def choose(self, tree: DraftTree, node: int, logits: torch.Tensor, position: int):
        probs = self._drawer.log_probs(logits).exp()
        without_draft = super().choose(DraftTree(0), 0, logits, position)
        for child in tree.children[node]:
            if float(torch.rand((), generator=self._generator)) < float(
                probs[tree.token_ids[child]]
            ):
                return without_draft._replace(kept=child, own_token_id=None)
        return without_draft


def counts_of(
    rule_name: str, shape: TreeSettings, num_runs: int, *, has_penalties: bool = False
) -> dict[tuple[int, ...], int]:
    counts = dict.fromkeys(exact_probs(has_penalties), 0)
    settings = {**SETTINGS, **(PENALTIES if has_penalties else {})}
    for seed in range(num_runs):
        sampling = SamplingConfig(do_sample=True, seed=seed, **settings)
        corrections = Corrections(sampling, {}, VOCAB, set())
        config = RunConfig(mode="sd-classic", accept="rejection", sampling=sampling)
        rule: AcceptanceRule
        proposer: Proposer
        if rule_name == "match":
            rule = MatchRule(rule_parts(sampling, VOCAB))
            proposer = NoisyProposer(config, VOCAB, CPU)
        else:
            cls = RejectionRule if rule_name == "rejection" else BiasedRule
            rule = cls(rule_parts(sampling, VOCAB, seed=seed))
            proposer = SamplingProposer(config, 0)
        proposer = CorrectedProposer(proposer, corrections)
        # A KeyError is an impossible outcome.
        counts[generate(rule, proposer, shape, corrections)] += 1
    return counts


def deviation(counts: dict[tuple[int, ...], int], *, has_penalties: bool = False) -> float:
    """Chi-square of the counts as a standard normal deviate (Wilson and Hilferty 1931).

    Outcomes with an expected count below 5 are taken together.
    """
    num_runs = sum(counts.values())
    exact = exact_probs(has_penalties)
    pairs = [(counts[outcome], prob * num_runs) for outcome, prob in exact.items()]
    cells = [pair for pair in pairs if pair[1] >= 5.0]
    rare = [pair for pair in pairs if pair[1] < 5.0]
    if rare:
        cells.append((sum(count for count, _ in rare), sum(expected for _, expected in rare)))
    chi_square = sum((count - expected) ** 2 / expected for count, expected in cells)
    spread = 2.0 / (9.0 * (len(cells) - 1))
    return float(((chi_square / (len(cells) - 1)) ** (1 / 3) - 1.0 + spread) / spread**0.5)


@pytest.mark.parametrize(
    "num_runs", [NUM_RUNS_IN_SHORT, pytest.param(NUM_RUNS, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
@pytest.mark.parametrize("rule_name", ["match", "rejection"])
def test_the_first_three_tokens_follow_the_target(
    rule_name: str, shape: TreeSettings, num_runs: int
) -> None:
    assert sum(exact_probs(False).values()) == pytest.approx(1.0, abs=1e-5)
    assert deviation(counts_of(rule_name, shape, num_runs)) < HIGHEST_DEVIATION


@pytest.mark.parametrize(
    "num_runs", [NUM_RUNS_IN_SHORT, pytest.param(NUM_RUNS, marks=pytest.mark.slow)]
)
def test_penalties_are_part_of_the_law_that_rejection_follows(num_runs: int) -> None:
    counts = counts_of("rejection", TREE, num_runs, has_penalties=True)
    assert deviation(counts, has_penalties=True) < HIGHEST_DEVIATION
    assert deviation(dict.fromkeys(exact_probs(False), 0) | counts) > HIGHEST_DEVIATION


@pytest.mark.parametrize(
    ("shape", "num_runs"),
    [
        pytest.param(CHAIN, 2 * NUM_RUNS_IN_SHORT, id="chain"),
        pytest.param(CHAIN, NUM_RUNS, id="long chain", marks=pytest.mark.slow),
        pytest.param(TREE, NUM_RUNS, id="tree", marks=pytest.mark.slow),
    ],
)
def test_a_biased_rule_is_caught(shape: TreeSettings, num_runs: int) -> None:
    assert deviation(counts_of("biased", shape, num_runs)) > HIGHEST_DEVIATION
