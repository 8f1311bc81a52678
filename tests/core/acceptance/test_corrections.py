"""Penalties, biases and banned ends: transformers' numbers, and each node by its own path."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LogitsProcessor, LogitsProcessorList

from core.acceptance.corrections import Corrections
from core.acceptance.sampling import log_probs_under
from core.backends.cpu.library import load_kernels
from core.backends.logit_facts import facts_of
from core.config import SamplingConfig
from core.runtime.storage import no_progress
from core.trees.tree import DraftTree
from tests.scripted import tree_from
from tests.tiny_models import tiny_model

VOCAB = 12
ENDS = frozenset({3, 7})


def corrections_of(sampling: SamplingConfig, vocab_size: int = VOCAB) -> Corrections:
    biases = {int(token): bias for token, bias in sampling.token_biases}
    return Corrections(sampling, biases, vocab_size, ENDS)


def corrected_row(
    sampling: SamplingConfig, prompt: Sequence[int], answer: Sequence[int], logits: list[float]
) -> list[float]:
    """The law behind prompt and answer."""
    corrections = corrections_of(sampling, len(logits))
    corrections.begin([*prompt])
    corrections.commit([*answer])
    root = DraftTree([*prompt, *answer][-1])
    return corrections.corrected(torch.tensor([logits]), root)[0].tolist()


def test_the_repetition_penalty_is_over_prompt_and_answer_and_counts_none_twice() -> None:
    sampling = SamplingConfig(repetition_penalty=2.0)
    assert corrected_row(sampling, [0, 1, 1], [2, 2], [4.0, -4.0, 1.0, 3.0]) == [2, -8, 0.5, 3]


def test_presence_and_frequency_are_over_the_answer_alone() -> None:
    sampling = SamplingConfig(presence_penalty=0.5, frequency_penalty=0.25)
    assert corrected_row(sampling, [0, 0, 1], [1, 2, 2], [1.0, 1.0, 1.0, 1.0]) == [1, 0.25, 0, 1]


def test_a_bias_comes_before_the_repetition_penalty() -> None:
    sampling = SamplingConfig(repetition_penalty=2.0, logit_bias={0: -3, 1: 100})
    assert corrected_row(sampling, [0], [], [1.0, 1.0, 1.0]) == [-4, 101, 1]


def test_ends_wait_for_the_least_number_of_tokens() -> None:
    sampling = SamplingConfig(min_new_tokens=2)
    logits = [0.0] * 4
    for answer, is_end_allowed in ([], False), ([1], False), ([1, 1], True):
        row = corrected_row(sampling, [0], answer, logits)
        assert (row[3] == 0.0) is is_end_allowed and row[:3] == [0, 0, 0]
    banned = SamplingConfig(ignore_eos=True)
    assert corrected_row(banned, [0], [1] * 50, logits)[3] == -torch.inf


def test_logits_that_nothing_changes_are_the_very_same() -> None:
    logits = torch.zeros(1, VOCAB)
    assert corrections_of(SamplingConfig()).corrected(logits, DraftTree(0)) is logits


samplings = st.builds(
    SamplingConfig,
    repetition_penalty=st.sampled_from([1.0, 0.7, 1.3]),
    presence_penalty=st.sampled_from([0.0, -0.3, 0.7]),
    frequency_penalty=st.sampled_from([0.0, 0.1, 2.0]),
    logit_bias=st.dictionaries(st.integers(0, VOCAB - 1), st.floats(-100, 100), max_size=3),
    min_new_tokens=st.integers(0, 6),
    ignore_eos=st.booleans(),
)
token_ids = st.lists(st.integers(0, VOCAB - 1), max_size=6)


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[int, int]]:
    size = draw(st.integers(0, 9))
    return [(draw(st.integers(0, node)), draw(st.integers(0, VOCAB - 1))) for node in range(size)]


@given(sampling=samplings, prompt=token_ids, answer=token_ids, entries=trees(), seed=st.integers())
def test_every_node_has_the_bits_of_plain_decoding_behind_its_path(
    sampling: SamplingConfig,
    prompt: list[int],
    answer: list[int],
    entries: list[tuple[int, int]],
    seed: int,
) -> None:
    prompt = [5, *prompt]
    tree = tree_from([*prompt, *answer][-1], entries)
    generator = torch.Generator().manual_seed(seed % 2**32)
    logits = 5 * torch.randn(len(tree), VOCAB, generator=generator)
    given_logits = logits.clone()
    corrections = corrections_of(sampling)
    corrections.begin(prompt)
    corrections.commit(answer)
    found = corrections.corrected(logits, tree)
    assert torch.equal(logits, given_logits), "the model's own logits stay"
    for node in range(len(tree)):
        alone = [*answer, *tree.path_token_ids(node)]
        expected = corrected_row(sampling, prompt, alone, logits[node].tolist())
        assert found[node].tolist() == expected


class AnswerPenalties(LogitsProcessor):
    """OpenAI's formula, written down from its reference: mu - count * frequency - (count > 0) *
    presence."""

    def __init__(self, num_prompt: int, sampling: SamplingConfig):
        self._num_prompt, self._sampling = num_prompt, sampling

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        for token_id, count in Counter(input_ids[0, self._num_prompt :].tolist()).items():
            scores[0, token_id] -= self._sampling.frequency_penalty * count
            scores[0, token_id] -= self._sampling.presence_penalty
        return scores


CASES: dict[str, dict[str, Any]] = {
    "repetition": {"repetition_penalty": 1.4},
    "bias": {"logit_bias": {5: 3.0, 17: -100.0, 40: 1.5}, "repetition_penalty": 1.2},
    "ends": {"min_new_tokens": 20},
    "no ends": {"ignore_eos": True},
    "answer": {"presence_penalty": 0.8, "frequency_penalty": 0.3},
    "all": {
        "repetition_penalty": 1.2,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.2,
        "logit_bias": {5: 2.0, 60: -4.0},
        "min_new_tokens": 12,
    },
}
DRAWN = {"temperature": 0.7, "top_k": 60, "top_p": 0.97, "min_p": 0.05}
PROMPT = [4, 9, 30, 9, 4, 77, 5]


def generated(module: Any, sampling: SamplingConfig, length: int = 30) -> Any:
    """What transformers' own generate makes of the same settings."""
    ends = sorted(ENDS)
    own: dict[str, Any] = {
        "repetition_penalty": sampling.repetition_penalty,
        "sequence_bias": {(int(token),): bias for token, bias in sampling.token_biases} or None,
        "min_new_tokens": sampling.min_new_tokens or None,
        "suppress_tokens": ends if sampling.ignore_eos else None,
        "do_sample": not sampling.is_greedy,
    }
    if not sampling.is_greedy:
        own |= {
            name: getattr(sampling, name) for name in ("temperature", "top_k", "top_p", "min_p")
        }
    torch.manual_seed(3)
    return module.generate(
        torch.tensor([PROMPT]), attention_mask=torch.ones(1, len(PROMPT)), max_new_tokens=length,
        eos_token_id=ends, pad_token_id=0, output_scores=True, output_logits=True,
        return_dict_in_generate=True,
        logits_processor=LogitsProcessorList([AnswerPenalties(len(PROMPT), sampling)]), **own,
    )  # fmt: skip


@pytest.mark.parametrize("drawn", [{}, DRAWN], ids=["greedy", "sampled"])
@pytest.mark.parametrize("case", CASES)
def test_transformers_generate_has_the_same_law(case: str, drawn: dict[str, Any]) -> None:
    """Held at every position of transformers' own answer, whose logits are the model's."""
    module = tiny_model("llama")
    sampling = SamplingConfig(**CASES[case], **drawn)
    output = generated(module, sampling)
    answer: list[int] = output.sequences[0, len(PROMPT) :].tolist()
    assert len(answer) > 3
    corrections = corrections_of(sampling, module.config.vocab_size)
    corrections.begin(PROMPT)
    root = PROMPT[-1]
    for logits, scores, token_id in zip(output.logits, output.scores, answer, strict=True):
        row = corrections.corrected(logits, DraftTree(root))
        if sampling.is_greedy:
            torch.testing.assert_close(row, scores, rtol=1e-6, atol=1e-6)
            assert int(row.argmax()) == token_id
        else:
            probs = log_probs_under(row, sampling).exp()
            torch.testing.assert_close(probs, scores.softmax(-1), rtol=1e-5, atol=1e-6)
            assert int((probs > 0).sum()) == int((scores > -torch.inf).sum())
        corrections.commit([token_id])
        root = token_id


def test_min_p_is_relative_to_the_best_token() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()
    sampling = SamplingConfig(temperature=1.0, min_p=0.4)
    expected = torch.tensor([[2 / 3, 1 / 3, 0, 0]])
    torch.testing.assert_close(log_probs_under(logits, sampling).exp(), expected)
    alone = log_probs_under(logits, SamplingConfig(temperature=1.0, min_p=1.0)).exp()
    assert alone.tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("vocab_size", [12, 130, 5000])
def test_kernels_and_torch_find_the_same_facts_of_logits_with_banned_tokens(
    vocab_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_kernels(no_progress)
    corrections = corrections_of(SamplingConfig(ignore_eos=True), vocab_size)
    corrections.begin([0])
    logits = torch.randn(1, vocab_size, generator=torch.Generator().manual_seed(1))
    logits[0, 3] = 50.0  # an end, which would be the best
    row = corrections.corrected(logits, DraftTree(0))
    by_kernels = facts_of(row, 5)
    monkeypatch.setattr("core.backends.logit_facts.loaded_kernels", lambda: None)
    by_torch = facts_of(row, 5)
    assert by_kernels.top_ids == by_torch.top_ids and 3 not in by_kernels.top_ids[0]
    assert by_kernels.entropies == pytest.approx(by_torch.entropies, rel=1e-5)
