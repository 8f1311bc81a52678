"""The target's probabilities and the keyed noise by which its tokens are drawn.

A token is drawn by the exponential race (the Gumbel-max trick, Maddison et al. 2014): it is
argmax(probs / noise) with noise ~ Exp(1), independent for each token id. The noise is a hash of
(seed, position, token id) and of nothing else, so that every mode draws the same token at a
position when it has the same distribution there.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple
from weakref import WeakValueDictionary

import torch

from core.acceptance.sampling_config import SamplingConfig
from core.backends.cpu.library import Drawn, loaded_kernels
from core.backends.logit_facts import kernels_for
from core.backends.logits import first_argmax

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_WORD = (1 << 64) - 1

# Probability mass is looked for in so many best tokens before the whole vocabulary is sorted.
_NUCLEUS_CANDIDATES = 512

# Positions whose noise is kept: more than a tree is deep.
_MOST_KEPT = 32


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _mix(word: int) -> int:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014)."""
    word = ((word ^ (word >> 30)) * _MIX_1) & _WORD
    word = ((word ^ (word >> 27)) * _MIX_2) & _WORD
    return word ^ (word >> 31)


def _mix_words(words: torch.Tensor) -> torch.Tensor:
    """`_mix` of every word; int64 products wrap as those of unsigned words do."""
    # Shifts of int64 keep the sign, so the bits that come in are masked away.
    words = (words ^ ((words >> 30) & ((1 << 34) - 1))).mul_(_signed(_MIX_1))
    words = (words ^ ((words >> 27) & ((1 << 37) - 1))).mul_(_signed(_MIX_2))
    return words ^ ((words >> 31) & ((1 << 33) - 1))


def stream_seed(seed: int, num_given: int) -> int:
    """Seed of numbers that come one after the other, for a run whose answer begins with `num_given`
    tokens.

    Those tokens may have been chosen by the seed's own numbers. To meet these again behind them would
    change the distribution, so that each length has numbers of its own.
    """
    return _mix((seed + num_given * _GOLDEN) & _WORD) if num_given else seed


def seed_key(seed: int) -> int:
    """What a seed's noise is mixed with, as an int64."""
    return _signed(_mix((seed + _GOLDEN) & _WORD))


class KeyedNoise:
    """Exp(1) noise of a vocabulary for a position, the same on every device."""

    def __init__(self, seed: int, vocab_size: int, device: torch.device):
        self._kept: dict[int, torch.Tensor] = {}
        self._seed_key = seed_key(seed)
        self._kernels = loaded_kernels() if device.type == "cpu" else None
        # The shape is [vocab].
        self._counters = torch.arange(vocab_size, dtype=torch.int64, device=device)
        self._counters.mul_(_signed(_GOLDEN))

    def at(self, position: int) -> torch.Tensor:
        """Noise for the token at `position`, counted from the start of the prompt  # [vocab]."""
        return self.rows(torch.tensor([position], device=self._counters.device))[0]

    def log_at(self, position: int) -> torch.Tensor:
        """The logarithm of `at`, kept for a while: drafts and their verification ask for the same.

        Not to be written into  # [vocab]
        """
        kept = self._kept.get(position)
        if kept is None:
            while len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            if self._kernels is None:
                kept = self.at(position).log_()
            else:
                key = _mix(_mix((position + 1) * _GOLDEN & _WORD) ^ (self._seed_key & _WORD))
                kept = self._kernels.log_noise(key, len(self._counters))
            self._kept[position] = kept
        return kept

    def rows(
        self,
        positions: torch.Tensor,  # [rows] int64
        seed_keys: torch.Tensor | None = None,  # [rows] int64
    ) -> torch.Tensor:
        """Noise for the tokens at several positions, of the seed or of each row's own (`seed_key`).

        Returns  # [rows, vocab]
        """
        own = self._seed_key if seed_keys is None else seed_keys
        keys = _mix_words(_mix_words((positions + 1) * _signed(_GOLDEN)) ^ own)
        words = _mix_words(self._counters[None] + keys[:, None]) >> 11
        uniform = (words & ((1 << 53) - 1)).to(torch.float32).mul_(2.0**-53)
        # -log(1 - u) keeps full precision for the small values that win the race; u = 1 would be
        # infinite noise, u = 0 none at all.
        uniform.clamp_(min=2.0**-60, max=1.0 - 2.0**-24)
        return uniform.neg_().log1p_().neg_()


_living: WeakValueDictionary[tuple[int, int, torch.device], KeyedNoise] = WeakValueDictionary()


def keyed_noise(seed: int, vocab_size: int, device: torch.device) -> KeyedNoise:
    """The noise of a seed; the very same object for all who hold it at a time."""
    key = seed, vocab_size, device
    noise = _living.get(key)
    if noise is None:
        noise = _living[key] = KeyedNoise(seed, vocab_size, device)
    return noise


def divisor(sampling: SamplingConfig) -> float:
    """What logits are divided by before a token is chosen."""
    return 1.0 if sampling.is_greedy else max(sampling.temperature, 1e-6)


def log_probs_under(
    logits: torch.Tensor,  # [rows, vocab]
    sampling: SamplingConfig,
) -> torch.Tensor:
    """Log-probabilities that the sampling settings give these logits  # [rows, vocab].

    Temperature, then top-k, then top-p, then min-p, then renormalised, as transformers has them;
    excluded tokens have -inf. Not for greedy settings, whose distribution is the argmax alone.
    """
    scaled = logits.float() / divisor(sampling)
    if 0 < sampling.top_k < scaled.shape[-1]:
        threshold = scaled.topk(sampling.top_k, dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < threshold, -torch.inf)
    log_probs = scaled.log_softmax(dim=-1)
    if sampling.top_p < 1.0:
        threshold = _nucleus_threshold(log_probs, sampling.top_p)
        log_probs = log_probs.masked_fill(log_probs < threshold, -torch.inf).log_softmax(dim=-1)
    if sampling.min_p > 0.0:  # Nguyen et al. 2024
        threshold = log_probs.amax(dim=-1, keepdim=True) + math.log(sampling.min_p)
        log_probs = log_probs.masked_fill(log_probs < threshold, -torch.inf).log_softmax(dim=-1)
    return log_probs


def _nucleus_threshold(
    log_probs: torch.Tensor,  # [rows, vocab]
    top_p: float,
) -> torch.Tensor:
    """Smallest log-probability inside the nucleus of each row (Holtzman et al. 2020)  # [rows, 1]."""
    vocab_size = log_probs.shape[-1]
    count = min(_NUCLEUS_CANDIDATES, vocab_size)
    best = log_probs.topk(count, dim=-1).values
    # A captured graph cannot be asked what it found.
    may_look = best.device.type == "cpu"
    if count < vocab_size and not (may_look and bool((best.exp().sum(dim=-1) >= top_p).all())):
        best = log_probs.sort(dim=-1, descending=True).values
    mass_before = best.exp().cumsum(dim=-1) - best.exp()
    # The token that crosses top_p belongs to the nucleus, and the first one always does.
    last = (mass_before < top_p).sum(dim=-1, keepdim=True).clamp(min=1) - 1
    return best.gather(-1, last)


class Race(NamedTuple):
    """A draw with what decided it: the token is where log-probability less log-noise is highest."""

    token_id: int
    log_probs_of: Callable[[list[int]], list[float]]
    """Of some tokens, under the sampling settings."""
    log_noise: torch.Tensor  # [vocab]

    def numbers(self, token_ids: list[int]) -> tuple[list[float], list[float]]:
        """Log-probabilities and log-noises of some tokens."""
        return self.log_probs_of(token_ids), self.log_noise[token_ids].tolist()


def first_in_race(
    logits: torch.Tensor,  # [rows, vocab]
    log_noise: Sequence[torch.Tensor],  # [vocab] each
    sampling: SamplingConfig,
    k: int,
) -> Drawn | None:
    """The best in the race of every row, by compiled kernels; None where there are none, or where the
    settings exclude tokens."""
    kernels = kernels_for(logits)
    keeps_all = (
        not 0 < sampling.top_k < logits.shape[-1]
        and sampling.top_p >= 1.0
        and sampling.min_p == 0.0
    )
    if kernels is None or not keeps_all:
        return None
    return kernels.drawn_tokens(logits, log_noise, divisor(sampling), min(k, logits.shape[-1]))


class TokenDrawer:
    """Draws the target's own token from a row of logits."""

    def __init__(self, sampling: SamplingConfig, vocab_size: int, device: torch.device):
        self._sampling = sampling
        self._noise = None if sampling.is_greedy else keyed_noise(sampling.seed, vocab_size, device)

    def log_probs(
        self,
        logits: torch.Tensor,  # [vocab]
    ) -> torch.Tensor:
        """See `log_probs_under`  # [vocab]."""
        return log_probs_under(logits[None], self._sampling)[0]

    def one_number(self) -> torch.Tensor:
        """A scalar on the host, for a rule that draws numbers of its own."""
        return torch.empty(())

    def draw(
        self,
        logits: torch.Tensor,  # [vocab]
        position: int,
    ) -> int:
        """The token at `position`; depends on seed, position and logits alone."""
        if self._noise is None:
            return int(first_argmax(logits[None]))
        return self.race(logits, position).token_id

    def race(
        self,
        logits: torch.Tensor,  # [vocab]
        position: int,
    ) -> Race:
        """The same draw with its numbers; not for greedy settings, which have no noise."""
        assert self._noise is not None, "the settings are greedy"
        log_noise = self._noise.log_at(position)
        drawn = first_in_race(logits[None], [log_noise], self._sampling, 1)
        if drawn is not None:
            scale, log_total = divisor(self._sampling), drawn.log_totals[0]
            return Race(
                drawn.ids[0][0],
                lambda ids: [float(logits[token_id]) / scale - log_total for token_id in ids],
                log_noise,
            )
        log_probs = log_probs_under(logits[None], self._sampling)[0]
        token_id = int(first_argmax((log_probs - log_noise)[None]))
        return Race(token_id, lambda ids: log_probs[ids].tolist(), log_noise)
