"""Which logits a token can be chosen by, and that excluded tokens are no fault."""

import json

import pytest
import torch

from core.backends.logits import BLOCK, are_usable, block_maxima, check_target
from core.config import RunConfig
from core.decoding.logprobs import (
    NOT_RECORDED,
    HostLogprobsReader,
    LogprobsReader,
    NothingReader,
)
from core.decoding.logprobs_device import DeviceLogprobsReader
from core.drafters.proposals import BestProposer, NoisyProposer, SamplingProposer
from core.errors import BadLogitsError
from core.trace.events import Verified
from core.trace.file import event_line
from tests.core.test_bad_numbers import RULES
from tests.scripted import ScriptedBackend, ScriptedDrafter, emitted, run_loop, tree_from

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
            SamplingProposer(config),
        ):
            with pytest.raises(BadLogitsError, match=r"drafter's logits .* from position 9 on"):
                proposer.propose(logits, [8, 9], count)
            with pytest.raises(BadLogitsError):
                proposer.propose(torch.full((1, VOCAB), -INF), [8], count)


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


def logprobs_of(reader: LogprobsReader, logits: torch.Tensor) -> list[float]:
    """All numbers that are read, after a check of the ids."""
    found = reader.read_logprobs(logits, tree_from(1, [(0, 2), (1, 3)]), 2, 4)
    assert found.next_prob is not None
    return [
        *(float(token_id) for ids in found.top_k_token_ids for token_id in ids),
        *(prob for probs in found.top_k_probs for prob in probs),
        *found.target_probs,
        *found.entropies_nats,
        found.next_prob,
    ]


@pytest.mark.parametrize("vocab", [VOCAB, VOCAB - 1])
@pytest.mark.parametrize("excluded", [(), (7,), tuple(range(2, VOCAB - 1))])
def test_host_and_device_read_the_same_and_leave_the_logits_as_they_are(
    vocab: int, excluded: tuple[int, ...]
) -> None:
    logits = torch.randn(3, vocab, generator=torch.Generator().manual_seed(0))
    logits[1, list(excluded)] = -INF
    before = logits.clone()
    found = logprobs_of(HostLogprobsReader(5), logits)
    assert torch.equal(logits, before)
    if len(excluded) < vocab - 5:  # else the last of the five are any of the excluded
        assert found == pytest.approx(logprobs_of(DeviceLogprobsReader(5), logits), abs=1e-5)
    assert NothingReader().read_logprobs(logits, tree_from(1, []), 0, 4) == NOT_RECORDED


def test_a_row_has_the_same_numbers_whatever_stands_beside_it() -> None:
    logits = torch.randn(9, VOCAB, generator=torch.Generator().manual_seed(1))
    tree = tree_from(1, [(0, token_id) for token_id in range(8)])
    reader = HostLogprobsReader(3)
    together = reader.read_logprobs(logits, tree, 0, 4)
    for row_index in range(9):
        alone = reader.read_logprobs(logits[row_index : row_index + 1], tree_from(1, []), 0, 4)
        assert alone.top_k_probs == together.top_k_probs[row_index : row_index + 1]
        assert alone.entropies_nats == together.entropies_nats[row_index : row_index + 1]


def test_equal_logits_are_told_by_the_lower_id_and_all_there_are_at_most() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, -INF]])
    found = HostLogprobsReader(9).read_logprobs(logits, tree_from(1, []), 0, 2)
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
