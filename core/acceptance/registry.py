"""The acceptance rules by name: what each is, and who judges by it.

A rule is a file of `core.acceptance.rules`; its form for a device, if it has one, stands beside it as
NAME_device.py. Nothing here imports torch, so that settings and page know the rules at once.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import core.acceptance.rules
from core.acceptance.base import AcceptanceRule, RuleParts
from core.errors import InvalidSettingError


class Explanation(NamedTuple):
    """Why a tested draft token was refused or kept, in sentences whose {places} the numbers of the
    token fill: own (the text that the target had instead), target (its probability), noise and
    threshold.
    """

    told: str
    """Of a refused token, with noise and threshold."""
    untold: str
    """Of a refused token, where the trace does not tell them."""
    impossible: str = ""
    """Where no threshold could have been reached; empty for rules that know no such case."""
    kept: str = ""
    """Of a kept token, with noise and threshold; empty where nothing is to be said."""
    kept_untold: str = ""
    """Of a kept token, where the trace does not tell them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """By which draft tokens are kept, under the name that `--accept` takes."""

    name: str
    is_lossless: bool
    """Whether the output has the target's distribution."""
    proposals: Literal["keyed noise", "samples"]
    """How a drafter that draws must choose children: by the target's own noise, or as samples
    without replacement, with the distribution that they came from."""
    make: Callable[[RuleParts], AcceptanceRule]
    explanation: Explanation
    device_form: str | None = None
    """What judges whole trees on a device, a `core.acceptance.device.MakeDeviceRule` as "module:name";
    None leaves the steps to the host."""


# With greedy settings every rule is this one, for the target has one token.
GREEDY = "match"
_ONLY_BEST = "Greedy decoding keeps a draft only if it is the target's most probable token: {own}."
_BEST = "It is the target's most probable token, which is what greedy decoding keeps."
WHY_GREEDY = Explanation(_ONLY_BEST, _ONLY_BEST, kept=_BEST, kept_untold=_BEST)

_registered: dict[str, Rule] = {}


def register_rule(rule: Rule) -> None:
    """Adds a rule; raises InvalidSettingError for a name that is taken."""
    if rule.name in _registered:
        raise InvalidSettingError(f"an acceptance rule is named {rule.name} already.")
    _registered[rule.name] = rule


@cache
def rules() -> Mapping[str, Rule]:
    """All rules by name."""
    for found in pkgutil.iter_modules(core.acceptance.rules.__path__):
        if not found.name.endswith("_device"):
            importlib.import_module(f"{core.acceptance.rules.__name__}.{found.name}")
    return dict(_registered)


def rule_of(accept: str, *, is_greedy: bool) -> Rule:
    """The rule that a run is judged by."""
    return rules()[GREEDY if is_greedy else accept]


def make_rule(accept: str, parts: RuleParts) -> AcceptanceRule:
    """What judges the trees of a run on the host."""
    return rule_of(accept, is_greedy=parts.sampling.is_greedy).make(parts)


def lossy_rule(config: Mapping[str, Any]) -> str:
    """The acceptance rule of `RunConfig.to_dict` if it changes the output's distribution, else "".

    Without drafts, and with greedy settings, no rule does. One that is not known to be lossless
    counts as lossy; of a trace from elsewhere anything may be missing.
    """
    name, sampling = config.get("accept"), config.get("sampling")
    is_drawn = (
        isinstance(sampling, Mapping)
        and bool(sampling.get("do_sample"))
        and sampling.get("temperature") != 0
    )
    if not isinstance(name, str) or not is_drawn or config.get("mode") == "naive":
        return ""
    rule = rules().get(name)
    return "" if rule is not None and rule.is_lossless else name


def explanation_of(config: Mapping[str, Any]) -> Explanation:
    """The sentences for a run's tested tokens; see `lossy_rule` for what may be missing."""
    sampling = config.get("sampling")
    is_greedy = not (isinstance(sampling, Mapping) and sampling.get("do_sample"))
    rule = rules().get(str(config.get("accept")))
    if is_greedy:
        return WHY_GREEDY
    unknown = Explanation(*["This rule is not known here, and its trace tells no more."] * 2)
    return unknown if rule is None else rule.explanation
