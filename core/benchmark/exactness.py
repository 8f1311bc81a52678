"""Where an answer leaves plain decoding's, and by how little."""

import math
from itertools import zip_longest
from typing import NamedTuple

from core.trace.events import Accepted, Verified
from core.trace.file import Trace

# Far down a float32 softmax is zero, which has no logarithm.
_LEAST_PROB = 1e-30


class Divergence(NamedTuple):
    """The first place where two answers differ."""

    position: int
    """Place in the answer, from 0."""
    plain_token_id: int | None
    """None where plain decoding's answer had ended."""
    token_id: int | None
    """None where the other answer had ended."""
    logit_gap: float | None
    """How far plain decoding held its own token above the other one: the difference of their
    logits. Small for a near-tie, which rounding may decide. None where it was not recorded."""
    is_lower_bound: bool
    """The other token is not among the recorded alternatives: the gap is at least that large."""


def first_divergence(plain: Trace, token_ids: list[int]) -> Divergence | None:
    """None where the ids are the same to the end; `plain` has one token a step."""
    pairs = zip_longest(plain.token_ids, token_ids)
    for position, (plain_id, other_id) in enumerate(pairs):
        if plain_id != other_id:
            gap, is_lower_bound = _gap(plain, position, other_id)
            return Divergence(position, plain_id, other_id, gap, is_lower_bound)
    return None


class _Gap(NamedTuple):
    logit_gap: float | None
    is_lower_bound: bool


def _gap(plain: Trace, position: int, other_id: int | None) -> _Gap:
    accepted = list(plain.of_kind(Accepted))
    if other_id is None or position >= len(accepted):
        return _Gap(None, False)
    own_prob = accepted[position].next_prob
    verified = list(plain.of_kind(Verified))[position]
    if own_prob is None or not verified.top_k_token_ids:
        return _Gap(None, False)
    ids, probs = verified.top_k_token_ids[0], verified.top_k_probs[0]
    is_recorded = other_id in ids
    other_prob = probs[ids.index(other_id)] if is_recorded else min(probs)
    return _Gap(math.log(own_prob / max(other_prob, _LEAST_PROB)), not is_recorded)
