"""The state of a sequence has seen the tokens in front of a column, whatever came before."""

import random

import pytest

from core.backends.chain_state import ChainState


class Sequence:
    """A state that is the list of what it has seen, driven as a cache and a forward drive it."""

    def __init__(self) -> None:
        self.state = ChainState(list)
        self.committed: list[int] = []

    def rows(self, start: int, token_ids: list[int], *, keeps: bool, breaks: bool = False) -> None:
        """Computes rows from a column on, and checks what the state had seen by then."""
        lacking = self.state.go_back(start)
        if keeps:
            self.state.keep_copy(len(self.committed))
        new = [*lacking, *token_ids]

        def compute() -> None:
            self.state.live.extend(new[: len(new) // 2] if breaks else new)
            if breaks:
                raise RuntimeError("no memory")

        self.state.advance(new, compute)


@pytest.mark.parametrize("seed", range(40))
def test_after_any_rows_refusals_breaks_and_prompts_it_has_seen_the_text(seed: int) -> None:
    draw = random.Random(seed)
    sequence = Sequence()
    for _ in range(60):
        committed, state = sequence.committed, sequence.state
        length = len(committed)
        match draw.choice(["draft", "draft", "levels", "append", "prompt", "break", "mark"]):
            case "draft":
                drafted = [draw.randrange(9) for _ in range(draw.randint(1, 5))]
                sequence.rows(length, drafted, keeps=len(drafted) > 1)
                assert state.live == committed + drafted
                sequence.committed = committed + drafted[: draw.randint(1, len(drafted))]
            case "levels":  # a draft model computes its own draft row by row
                drafted = [draw.randrange(9) for _ in range(draw.randint(1, 5))]
                for index, token_id in enumerate(drafted):
                    sequence.rows(length + index, [token_id], keeps=index > 0)
                assert state.live == committed + drafted
                sequence.committed = committed + drafted[: draw.randint(1, len(drafted))]
            case "append":
                new = [draw.randrange(9) for _ in range(draw.randint(1, 8))]
                sequence.rows(length, new, keeps=False)
                sequence.committed = committed + new
                assert state.live == sequence.committed
            case "prompt":  # a next text with a part of this one in front
                known = state.known(draw.randint(0, length))
                assert 0 <= known <= length
                sequence.committed = committed[:known]
            case "break":
                with pytest.raises(RuntimeError):
                    sequence.rows(length, [1, 2, 3], keeps=draw.random() < 0.5, breaks=True)
            case "mark":
                state.keep_prompt(length)
    sequence.rows(len(sequence.committed), [7], keeps=False)
    assert sequence.state.live == [*sequence.committed, 7]


def test_of_copies_within_the_kept_tokens_only_the_last_stays() -> None:
    """So that memory does not grow with the text."""
    sequence = Sequence()
    for step in range(30):
        sequence.rows(len(sequence.committed), [step, step], keeps=True)
        sequence.committed.append(step)
        assert len(sequence.state._kept) <= 2
