"""Settings of sampling: how the target's next token is chosen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from core.acceptance.constraint_text import read_constraint
from core.errors import InvalidSettingError, shown
from core.settings import Settings, default_of, named_token, setting

MOST_BIASES = 1024
# As the interfaces of others have it.
_LARGEST_BIAS = 100.0
# What narrows the distribution that tokens are drawn from.
_NARROWING = ("top_k", "top_p", "min_p")


class TokenBias(NamedTuple):
    """What is added to the logit of one token."""

    token: int | str
    """Its id, or its text."""
    bias: float


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Settings):
    """How the target's next token is chosen.

    One rule decides whether it is drawn: a temperature above 0 draws, 0 takes the most probable
    token, and so does giving nothing. `do_sample` alone draws at temperature 1. The two hold what
    they come to, so that a greedy run has temperature 0; what contradicts is refused.

    Penalties, biases and banned ends change the logits of greedy runs as well
    (`core.acceptance.corrections`).
    """

    do_sample: bool = setting(
        None, "draw from the target's distribution; the same as temperature 1 where none is given"
    )
    temperature: float = setting(
        None,
        "above 0 draws from the target's distribution and divides its logits; 0, or unset, takes "
        "the most probable token",
        low=0.0,
        high=100.0,
        flags=("temp", "temperature"),
    )
    top_k: int = setting(0, "keep only the k most probable tokens; 0 keeps all", low=0, high=10**6)
    top_p: float = setting(
        1.0, "keep the smallest set of tokens with this probability mass", low=1e-6, high=1.0
    )
    min_p: float = setting(
        0.0,
        "keep the tokens that have at least this part of the best token's probability",
        low=0.0,
        high=1.0,
    )
    repetition_penalty: float = setting(
        1.0,
        "above 1 makes every token of prompt and answer less probable: divides its logit where that "
        "is positive, else multiplies it",
        low=0.01,
        high=100.0,
    )
    presence_penalty: float = setting(
        0.0, "taken from the logit of every token of the answer", low=-2.0, high=2.0
    )
    frequency_penalty: float = setting(
        0.0,
        "taken from the logit of every token of the answer as often as it stands there",
        low=-2.0,
        high=2.0,
    )
    logit_bias: tuple[str, ...] = setting(
        (),
        "TOKEN=NUMBER adds a number from -100 to 100 to the logit of a token, given by its id or its "
        "exact text",
        is_verbatim=True,
    )
    min_new_tokens: int = setting(
        0, "the answer does not end before it has this many tokens", low=0, high=10**6
    )
    ignore_eos: bool = setting(
        False, "no token that ends the answer is ever chosen, so that it goes on to its limit"
    )
    constraint: str | None = setting(
        None,
        "the answer follows a form: json is any JSON object; json:SCHEMA, regex:EXPRESSION and "
        "lark:GRAMMAR say more",
    )
    seed: int = setting(0, "the same seed gives the same text in every mode", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        is_unsaid = self.do_sample is None and self.temperature is None
        if self.temperature is None:
            object.__setattr__(self, "temperature", 1.0 if self.do_sample else 0.0)
        if self.do_sample is None:
            object.__setattr__(self, "do_sample", self.temperature != 0)
        if isinstance(self.logit_bias, Mapping):
            pairs = tuple(f"{token}={bias}" for token, bias in self.logit_bias.items())
            object.__setattr__(self, "logit_bias", pairs)
        super().__post_init__()
        if self.do_sample and self.temperature == 0:
            raise InvalidSettingError(
                "do_sample draws tokens and temperature 0 takes the most probable ones; give a "
                "temperature above 0, or leave do_sample out."
            )
        if not self.do_sample and self.temperature != 0:
            raise InvalidSettingError(
                f"do_sample is false and temperature {self.temperature} draws tokens; leave one of "
                "them out."
            )
        for name in _NARROWING:
            if is_unsaid and getattr(self, name) != default_of(SamplingConfig, name):
                raise InvalidSettingError(
                    f"{name} narrows what is drawn and nothing says that tokens are drawn; give a "
                    f"temperature as well, or leave {name} out."
                )
        if len(self.logit_bias) > MOST_BIASES:
            raise InvalidSettingError(
                f"logit_bias has {len(self.logit_bias)} tokens; give at most {MOST_BIASES}."
            )
        _ = self.token_biases
        if self.constraint is not None:
            _check_form(self)

    @property
    def is_greedy(self) -> bool:
        return not self.do_sample

    @property
    def token_biases(self) -> list[TokenBias]:
        """What `logit_bias` says, token by token; raises InvalidSettingError for what says nothing."""
        return [_token_bias(entry) for entry in self.logit_bias]

    @property
    def corrections(self) -> tuple[str, ...]:
        """Names of the settings that change logits before a token is chosen; none where they stay."""
        return tuple(name for name in CORRECTING if not self._is_default(name))

    def _is_default(self, name: str) -> bool:
        return bool(getattr(self, name) == default_of(SamplingConfig, name))


# In the order in which they act.
CORRECTING = (
    "logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty", "min_new_tokens",
    "ignore_eos", "constraint",
)  # fmt: skip


def _check_form(sampling: SamplingConfig) -> None:
    """Raises InvalidSettingError for a constraint that is none, or that contradicts."""
    read_constraint(sampling.constraint or "")
    for name in ("min_new_tokens", "ignore_eos"):
        if getattr(sampling, name) != default_of(SamplingConfig, name):
            raise InvalidSettingError(
                f"constraint says where the answer ends, and {name} that it does not; leave one of "
                "them out."
            )


def _token_bias(entry: str) -> TokenBias:
    token, _, number = entry.rpartition("=")
    try:
        bias = float(number)
    except ValueError:
        bias = math.nan
    if not token or not abs(bias) <= _LARGEST_BIAS:
        raise InvalidSettingError(
            f"logit_bias has {shown(entry)}; give TOKEN=NUMBER, with a token's id or exact text and a "
            f"number from -{_LARGEST_BIAS:g} to {_LARGEST_BIAS:g}."
        )
    return TokenBias(named_token(token), bias)
