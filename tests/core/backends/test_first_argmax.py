"""The largest logit of a row: always the one that argmax takes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.backends.logits import first_argmax


@given(st.lists(st.integers(-2, 2), min_size=128, max_size=128), st.integers(1, 3))
def test_ties_go_to_the_first(values: list[int], num_rows: int) -> None:
    logits = torch.tensor([values[row:] + values[:row] for row in range(num_rows)]).float()
    expected = [row.index(max(row)) for row in logits.tolist()]
    assert first_argmax(logits).tolist() == expected == logits.argmax(dim=-1).tolist()


@pytest.mark.parametrize("vocab_size", [1, 63, 64, 100, 49152])
def test_any_vocabulary_and_view(vocab_size: int) -> None:
    logits = torch.randn(6, vocab_size, generator=torch.Generator().manual_seed(vocab_size))
    for part in (logits, logits[::2], logits[1:3], logits.bfloat16()):
        assert torch.equal(first_argmax(part), part.argmax(dim=-1))


def test_what_is_excluded_never_wins() -> None:
    logits = torch.full((2, 128), -torch.inf)
    logits[0, 77] = -1e30
    assert first_argmax(logits).tolist() == [77, 0]
