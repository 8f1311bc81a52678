"""Which logits a token can be chosen by, and that excluded tokens are no fault."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.backends import logit_facts
from core.backends.cpu.library import load_kernels
from core.backends.cpu.linear import cpu_bytes
from core.backends.logit_facts import (
    corrected_logits,
    facts_of,
    note_facts,
    part_with_facts,
    without_infinity,
)
from core.backends.logits import BLOCK, LogitFacts, are_usable, block_maxima, check_target
from core.config import RunConfig
from core.decoding.logprobs import logprobs_from
from core.decoding.logprobs_device import logprobs_of, measure
from core.drafters.proposals import BestProposer, NoisyProposer, SamplingProposer
from core.errors import BadLogitsError
from core.runtime.storage import no_progress
from core.trace.events import Verified
from core.trace.file import event_line
from tests.core.test_bad_numbers import RULES
from tests.scripted import ScriptedBackend, ScriptedDrafter, emitted, rows_at, run_loop, tree_from

NAN, INF = float("nan"), float("inf")
VOCAB = 2 * BLOCK
PLACES = (0, 1, BLOCK - 1, BLOCK, VOCAB - 1)


def row(vocab: int = VOCAB, **values: float) -> torch.Tensor:
    """Ordinary logits but for some, by place."""
    logits = torch.linspace(-3.0, 3.0, vocab)
    for place, value in values.items():
        logits[int(place.removeprefix("at"))] = value
    return logits


@pytest.mark.parametrize("vocab", [VOCAB, VOCAB - 1])
def test_the_largest_logit_of_a_row_must_be_a_finite_number(vocab: int) -> None:
    def is_usable(logits: torch.Tensor) -> bool:
        return bool(are_usable(block_maxima(logits[None]).amax(dim=-1))[0])

    assert is_usable(row(vocab))
    assert is_usable(torch.full((vocab,), -INF).index_fill(0, torch.tensor(3), -1e38))
    assert not is_usable(torch.full((vocab,), -INF))
    for place in (0, BLOCK - 1, BLOCK, vocab - 1):
        assert is_usable(row(vocab, **{f"at{place}": -INF}))
        assert not is_usable(row(vocab, **{f"at{place}": NAN}))
        assert not is_usable(row(vocab, **{f"at{place}": INF}))


def test_the_first_position_is_told() -> None:
    highest = [1.0, NAN, 2.0, INF]
    with pytest.raises(BadLogitsError, match=r"target's logits .* from position 12 on"):
        check_target(highest, [10, 13, 11, 12])
    check_target(highest[::2], [10, 11])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", [NAN, INF])
def test_no_drafter_chooses_by_such_logits(value: float, place: int) -> None:
    config = RunConfig.from_dict({"sampling": {"temperature": 0.7, "top_k": 5, "top_p": 0.9}})
    logits = torch.stack([row(), row(**{f"at{place}": value})])
    for count in (1, 3):
        for proposer in (
            BestProposer(),
            NoisyProposer(config, VOCAB, torch.device("cpu")),
            SamplingProposer(config, 0),
        ):
            with pytest.raises(BadLogitsError, match=r"drafter's logits .* from position 9 on"):
                proposer.propose(logits, rows_at(8, 9), count)
            with pytest.raises(BadLogitsError):
                proposer.propose(torch.full((1, VOCAB), -INF), rows_at(8), count)


@pytest.mark.parametrize("excluded", [(0, 5), (BLOCK,), tuple(range(3, VOCAB))])
@pytest.mark.parametrize("rule", RULES)
def test_excluded_tokens_are_never_chosen_and_every_number_of_the_trace_is_one(
    rule: str, excluded: tuple[int, ...]
) -> None:
    logits = row(**{f"at{token}": -INF for token in excluded}).tolist()
    drafter = ScriptedDrafter(
        lambda committed, limits: tree_from(committed[-1], [(0, excluded[0]), (0, 1), (0, 2)])
    )
    settings = {"mode": "ngram", "max_new_tokens": 8, "trace_top_k": 3, **RULES[rule]}
    events, _ = run_loop(ScriptedBackend(lambda _: logits, VOCAB), drafter, [1, 2], **settings)
    assert len(emitted(events)) == 8 and not set(emitted(events)) & set(excluded)
    for event in events:
        json.loads(event_line(event))
        if isinstance(event, Verified):
            left = [value for index, value in enumerate(row().tolist()) if index not in excluded]
            probs = torch.tensor(left).softmax(dim=0)
            entropy = float(-(probs * probs.log()).sum())
            assert event.entropies_nats == pytest.approx([entropy] * event.num_rows, abs=1e-4)
            assert event.target_probs[1:2] == [0.0][: event.num_rows - 1]


def by_torch(logits: torch.Tensor, k: int, monkeypatch: pytest.MonkeyPatch) -> LogitFacts:
    """Facts as a machine without compiled kernels finds them."""
    with monkeypatch.context() as patch:
        patch.setattr(logit_facts, "loaded_kernels", lambda: None)
        return facts_of(logits, k)


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    load_kernels(no_progress)


@pytest.mark.parametrize("vocab", [1, 7, BLOCK, VOCAB, VOCAB - 1, 5000])
@pytest.mark.parametrize("share_excluded", [0.0, 0.5, 1.0])
def test_kernels_and_torch_find_the_same_and_leave_the_logits_as_they_are(
    vocab: int, share_excluded: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(vocab)
    logits = 4 * torch.randn(3, vocab, generator=random)
    order = torch.randperm(vocab, generator=random)
    logits[1, order[: min(vocab - 1, round(share_excluded * vocab))]] = -INF
    before = logits.clone()
    found, expected = facts_of(logits, 5), by_torch(logits, 5, monkeypatch)
    assert torch.equal(logits, before)
    for row_index in range(3):
        left = min(5, int((logits[row_index] > -INF).sum()))  # behind them any of the excluded
        for name in ("top_ids", "top_logits"):
            ours, theirs = getattr(found, name)[row_index], getattr(expected, name)[row_index]
            assert ours[:left] == theirs[:left] and len(ours) == len(theirs) == min(5, vocab)
        assert found.top_probs[row_index] == pytest.approx(
            expected.top_probs[row_index], rel=1e-5, abs=1e-12
        )
    assert found.log_totals == pytest.approx(expected.log_totals, abs=1e-5)
    assert found.entropies == pytest.approx(expected.entropies, abs=2e-5)
    probs = logits.double().softmax(dim=-1)
    entropies = -torch.special.xlogy(probs, probs).sum(dim=-1)
    assert found.entropies == pytest.approx(entropies.tolist(), abs=2e-5)


@given(st.lists(st.integers(-2, 2), min_size=150, max_size=150), st.integers(1, 12))
def test_the_largest_are_those_of_a_stable_sort(values: list[int], k: int) -> None:
    order = sorted(range(150), key=lambda place: -values[place])
    logits = torch.tensor([values]).float()
    assert facts_of(logits, k).top_ids == [order[:k]]


@pytest.mark.parametrize("place", [*PLACES, 70])
def test_no_number_counts_as_the_largest(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.stack([row(), row(**{f"at{place}": NAN})])
    for facts in (facts_of(logits, 3), by_torch(logits, 3, monkeypatch)):
        assert math.isnan(facts.top_logits[1][0]) and facts.top_ids[1][0] == place
        assert facts.top_ids[0] == [VOCAB - 1, VOCAB - 2, VOCAB - 3]


def test_a_row_has_the_same_numbers_whatever_stands_beside_it() -> None:
    logits = torch.randn(9, VOCAB, generator=torch.Generator().manual_seed(1))
    together = facts_of(logits, 3)
    for row_index in range(9):
        alone = facts_of(logits[row_index : row_index + 1], 3)
        assert alone == together.of_rows(slice(row_index, row_index + 1))


def test_facts_that_are_noted_are_those_of_the_logits_and_of_their_parts() -> None:
    logits = torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(2))
    facts = facts_of(logits, 8)
    note_facts(logits, facts._replace(entropies=[1.0, 2.0, 3.0, 4.0]))
    assert facts_of(logits, 5).entropies == [1.0, 2.0, 3.0, 4.0]
    part = part_with_facts(logits, slice(1, 3))
    assert facts_of(part, 2).entropies == [2.0, 3.0]
    assert facts_of(part, 2).top_ids == [ids[:2] for ids in facts.top_ids[1:3]]
    assert facts_of(part, 9) == facts_of(part.clone(), 9)  # more than was noted


@pytest.mark.parametrize("excluded", [(), (7,), tuple(range(6, VOCAB - 1))])
def test_host_and_device_record_the_same(excluded: tuple[int, ...]) -> None:
    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(0))
    logits[1, list(excluded)] = -INF
    tree = tree_from(1, [(0, 2), (1, 3)])
    found = logprobs_from(facts_of(logits, 5), logits, tree, 2, 4)
    parents, token_ids = torch.tensor([2, 0, 1]), torch.tensor([4, 2, 3])
    facts = measure(without_infinity(logits), 5, parents, token_ids, torch.empty_like(logits))
    expected = logprobs_of(*(tensor.tolist() for tensor in facts), num_nodes=3, has_next=True)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=1e-5, rtol=0)


def test_equal_logits_are_told_by_the_lower_id_and_all_there_are_at_most() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, -INF]])
    found = logprobs_from(facts_of(logits, 9), logits, tree_from(1, []), 0, 2)
    assert found.top_k_token_ids == [[1, 2, 0, 3]]
    assert found.top_k_probs[0][0] == found.next_prob == found.top_k_probs[0][1]
    assert found.top_k_probs[0][3] == 0.0


def test_a_temperature_that_makes_large_logits_infinite_is_told() -> None:
    def decoded(temperature: float) -> list[int]:
        backend = ScriptedBackend(lambda prefix: [1e35, 0.0, -1e35, 1.0], 4)
        sampling = {"temperature": temperature}
        return emitted(run_loop(backend, None, [1, 2], max_new_tokens=2, sampling=sampling)[0])

    assert decoded(0.0) == decoded(1.0) == [0, 0]
    with pytest.raises(BadLogitsError, match="from position 2 on"):
        decoded(1e-6)


@pytest.mark.parametrize("rows", [1, 3])
def test_corrected_logits_are_sums_with_their_own_facts(rows: int) -> None:
    random = torch.Generator().manual_seed(rows)
    weight = torch.randn(VOCAB, 32, generator=random)
    linear = cpu_bytes(load_kernels(no_progress), weight, None)
    x = torch.randn(rows, 32, generator=random)
    shared = torch.randn(VOCAB, generator=random)
    logits = corrected_logits(linear, x, shared)
    torch.testing.assert_close(logits, linear(x) + shared, atol=1e-5, rtol=1e-5)
    assert facts_of(logits, 5) == facts_of(logits.clone(), 5)
    # A row's are its own, whatever stands beside it.
    assert torch.equal(corrected_logits(linear, x[-1:], shared)[0], logits[-1])
