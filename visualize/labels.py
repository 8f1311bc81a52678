"""Short names for runs that stand side by side."""

import html
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from core.runtime.strict_json import dumps
from core.trace.events import RunStarted
from core.trace.file import Trace
from visualize.run_facts import RunFacts, run_facts

# Names that differ in more settings than this are told apart by a number.
_MOST_TOLD = 3
_LONGEST_VALUE = 24
_WORDS = {True: "on", False: "off", None: "unset"}


class Setup(NamedTuple):
    """Runs with the same prompt on the same model and machine can be compared."""

    prompt: tuple[int, ...] | str
    """Its ids; its text where a server does not tell them."""
    target: str
    dtype: str
    device: str


def setup_of(trace: Trace) -> Setup:
    facts, started = run_facts(trace), trace.first(RunStarted)
    prompt = tuple(started.prompt_token_ids) if started else ()
    # Several servers of one model can be compared with each other.
    target = str(facts.server.get("model") or facts.target) if facts.server else facts.target
    return Setup(prompt or facts.prompt_text, target, facts.dtype, facts.device)


def repeat_key(trace: Trace) -> Hashable:
    """Equal for repeats of one run: same setup, beginning, draft model and settings."""
    facts, started = run_facts(trace), trace.first(RunStarted)
    given = tuple(started.prefix_token_ids) if started else ()
    return setup_of(trace), given, facts.target, facts.draft, dumps(facts.config, sort_keys=True)


def run_labels(traces: Sequence[Trace]) -> list[str]:
    """A different name for each trace: its mode, and what else it takes to tell it apart."""
    facts = [run_facts(trace) for trace in traces]
    parts = [[item.mode or "run", lossy_mark(item.lossy_rule)] for item in facts]
    for read in (_branch, _target, _device):
        if len({read(item) for item in facts}) > 1:
            for part, item in zip(parts, facts, strict=True):
                part.append(read(item))
    names = [", ".join(filter(None, part)) for part in parts]
    return _numbered(_with_settings(names, [_settings(item.config) for item in facts]))


def lossy_mark(rule: str) -> str:
    """What stands beside the name of every run whose rule changes the output's distribution."""
    return f"lossy ({rule})" if rule else ""


def figure_text(text: str) -> str:
    """A text that plotly shows as it is; it would read tags and entities otherwise."""
    return html.escape(text, quote=False)


def _branch(facts: RunFacts) -> str:
    return "" if facts.forked_at is None else f"branch at token {facts.forked_at + 1}"


def _target(facts: RunFacts) -> str:
    return facts.target


def _device(facts: RunFacts) -> str:
    return facts.device


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of run, sampling and drafter in one."""
    parts = [config, *(config.get(part) for part in ("sampling", "drafter"))]
    inner = ("mode", "sampling", "drafter")
    return {
        name: value
        for part in parts
        if isinstance(part, Mapping)
        for name, value in part.items()
        if name not in inner
    }


def _with_settings(names: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where several have one name, the few settings that they differ in stand behind it."""
    told = list(names)
    for name in dict.fromkeys(names):
        places = [place for place, other in enumerate(names) if other == name]
        group = [settings[place] for place in places]
        every = dict.fromkeys(key for values in group for key in values)
        differing = [key for key in every if len({dumps(one.get(key)) for one in group}) > 1]
        if len(differing) <= _MOST_TOLD:
            for place in places:
                words = [_setting(key, settings[place].get(key)) for key in differing]
                told[place] = ", ".join([name, *words])
    return told


def _setting(name: str, value: Any) -> str:
    shown = _WORDS[value] if value is None or isinstance(value, bool) else str(value)
    short = shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}…"
    return f"{name.replace('_', ' ')} {short}"


def _numbered(names: list[str]) -> list[str]:
    labels: list[str] = []
    for name in names:
        number, label = 1, name
        while label in labels:
            number += 1
            label = f"{name} #{number}"
        labels.append(label)
    return labels
