"""What logits must be for a token to be chosen by them, and the largest of them, found fast."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from core.errors import BadLogitsError

# The largest numbers of a row are looked for among the maxima of blocks first: several times faster.
BLOCK = 64
_LARGEST = torch.finfo(torch.float32).max


class LogitFacts(NamedTuple):
    """What is told of rows of logits, at temperature 1."""

    top_ids: list[list[int]]
    """Of the largest, best first. NaN counts as the largest; of equal ones the first is the best."""
    top_logits: list[list[float]]
    top_probs: list[list[float]]
    log_totals: list[float]
    """Logarithm of the sum of all exponentials: a logit less this is a log-probability."""
    entropies: list[float]
    """In nats."""

    def of_rows(self, rows: slice) -> "LogitFacts":
        """Those of some rows."""
        return LogitFacts(
            self.top_ids[rows],
            self.top_logits[rows],
            self.top_probs[rows],
            self.log_totals[rows],
            self.entropies[rows],
        )

    def of_largest(self, k: int) -> "LogitFacts":
        """Those of the `k` largest alone."""
        return self._replace(
            top_ids=[row[:k] for row in self.top_ids],
            top_logits=[row[:k] for row in self.top_logits],
            top_probs=[row[:k] for row in self.top_probs],
        )


def block_maxima(
    logits: torch.Tensor,  # [rows, vocab]
) -> torch.Tensor:
    """The largest of every block of a row; of the whole row where it has no whole blocks.

    One pass over the vocabulary, in which NaN counts as the largest  # [rows, blocks]
    """
    rows, vocab_size = logits.shape
    if vocab_size % BLOCK or not logits.is_contiguous():
        return logits.amax(dim=-1, keepdim=True)
    return logits.view(rows, -1, BLOCK).amax(dim=-1)


def first_argmax(
    logits: torch.Tensor,  # [rows, vocab]
) -> torch.Tensor:
    """The first of each row's largest logits, as `argmax` takes it  # [rows]."""
    if logits.device.type != "cpu" or logits.dtype != torch.float32:
        return logits.argmax(dim=-1)
    # numpy's is ten times as fast.
    return torch.from_numpy(logits.numpy().argmax(axis=-1))


def are_usable(
    highest: torch.Tensor,  # [...]
) -> torch.Tensor:
    """Whether a token can be chosen by rows of logits with these largest numbers  # [...] bool.

    Minus infinity beside finite numbers is how a model excludes a token. NaN, which counts as the
    largest of its row, plus infinity, and a row of nothing but minus infinity leave no distribution.
    """
    return highest.isfinite()


def check_target(highest: Sequence[float], positions: Iterable[int], divisor: float = 1.0) -> None:
    """Raises BadLogitsError where the target's rows with these largest logits are not usable.

    `positions` are those of the tokens that the rows would choose; what the logits are divided by may
    make infinite in float32 what is merely large.
    """
    limit = _LARGEST * divisor
    if not all(abs(value) <= limit for value in highest):  # NaN is not, either
        rows = zip(positions, highest, strict=True)
        raise bad_logits("target", min(place for place, value in rows if not abs(value) <= limit))


def bad_logits(who: str, position: int) -> BadLogitsError:
    """The error of logits by which no token can be chosen from a position on."""
    return BadLogitsError(
        f"the {who}'s logits are NaN or infinite from position {position} on, so that no token can "
        "be chosen; give a model whose weights are whole, or another dtype."
    )
