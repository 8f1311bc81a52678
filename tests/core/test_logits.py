"""Which logits a token can be chosen by, and that excluded tokens are no fault."""

import json

import pytest
import torch

from core.backends.logits import BLOCK, are_usable, block_maxima, check_target
from core.config import RunConfig
from core.decoding.logprobs import LogprobsReader
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
    highest = torch.tensor([1.0, NAN, 2.0, INF])
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


def test_the_numbers_of_a_trace_are_those_of_the_maxima_that_were_given() -> None:
    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(0))
    tree = tree_from(1, [(0, 2), (1, 3)])
    alone = LogprobsReader(2).read_logprobs(logits, tree, 2, 4)
    assert LogprobsReader(2).read_logprobs(logits, tree, 2, 4, block_maxima(logits)) == alone


def test_a_temperature_that_makes_large_logits_infinite_is_told() -> None:
    def decoded(temperature: float) -> list[int]:
        backend = ScriptedBackend(lambda prefix: [1e35, 0.0, -1e35, 1.0], 4)
        sampling = {"temperature": temperature}
        return emitted(run_loop(backend, None, [1, 2], max_new_tokens=2, sampling=sampling)[0])

    assert decoded(0.0) == decoded(1.0) == [0, 0]
    with pytest.raises(BadLogitsError, match="from position 2 on"):
        decoded(1e-6)
