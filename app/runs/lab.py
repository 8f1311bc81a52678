"""The lab: a profile of one prompt, and what it predicts for the settings and costs of the page."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from app.engines.chat import single_chat
from app.messages import LabAnswer, LabChoice, LabName
from app.runs.handlers import Handlers, follow
from app.runs.session import ChatSession
from app.runs.texts import checked_text
from core.config import MOST_TOGETHER, RunConfig
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.modes.ngram import NgramSettings
from core.modes.settings import DrafterSettings, TreeSettings
from core.profile.circumstance import Circumstance
from core.profile.prediction import (
    Axis,
    Choice,
    Prediction,
    axes_of,
    candidates,
    grid_map,
    predict,
    ranked,
    setting_words,
    usual_axes,
)
from core.profile.profile import profile_of
from core.profile.saved_costs import OWN, named_costs, shipped_names
from core.runtime.strict_json import dumps
from core.trace.file import Trace

_OWN_WORDS = "this machine"
_MOST_TIMES = 100.0
Measure = Literal["tokens_per_s", "tau", "times_plain"]


def measure(
    handlers: Handlers, session: ChatSession, text: str, config: RunConfig, *, raw: bool = False
) -> Iterator[str]:
    """Makes a profile of a prompt; yields the messages of its run.

    Raises SpecDecodesError before the first one where the prompt or a setting is wrong.
    """
    prompt = checked_text(text, "prompt")
    if config.drafter is None:
        raise InvalidSettingError(f"mode {config.mode} drafts nothing; choose another one.")
    last = session.lab
    if last is not None and not last.is_ended:
        raise SpecDecodesError("A profile is still being made; stop it or wait for its end.")
    handlers.check(config, session.owner)
    if last is not None:
        handlers.store.drop([last.run_id])
    record = session.lab = handlers.store.create(prompt, config.mode)
    chats = [single_chat(prompt, raw=raw)]
    handlers.start(
        [record], chats, [config], session.visitor, session.owner, memory=None, is_profile=True
    )
    yield from follow(record)


def resume_lab(handlers: Handlers, session: ChatSession, run_ids: Sequence[Any]) -> Iterator[str]:
    """Goes on with the profile that a page remembers from before it was loaded anew."""
    records = handlers.records(session, run_ids)
    if records and session.lab is None:
        session.lab = records[-1]
        yield from follow(records[-1])


def lab_json(trace: Trace, asked: Mapping[str, str], theme: Literal["light", "dark"]) -> str:
    """What a profile predicts: `x` and `y` name what the map varies, `costs`, `batch`, `verification`
    and `drafting` say what steps cost, `sized` whether trees follow the cost, `measure` what is drawn.

    Raises InvalidSettingError for a trace that is no profile, and for what is not understood.
    """
    from visualize.figures.setting_map import setting_map_figure, setting_map_info

    profile = profile_of(trace)
    most = profile.config.drafter
    if most is None:
        raise InvalidSettingError(f"mode {profile.config.mode} drafts nothing; choose another one.")
    x, y = _axes(asked, most)
    here = _circumstance(asked)
    costs = here.costs_of(profile)
    looked_at = [
        Choice(settings, predict([profile], settings, lambda _: costs))
        for settings in candidates(most)
    ]
    plain = predict([profile], None, lambda _: costs)
    is_sized = asked.get("sized") == "yes"
    drawn = most
    if isinstance(most, (NgramSettings, TreeSettings)):
        drawn = replace(most, fixed_size=not is_sized)
    map_values = grid_map([profile], drawn, x, y, here).to_dict()
    figure = setting_map_figure(
        setting_map_info(map_values, profile.config.mode), theme, _measure(asked)
    )
    order = ranked(looked_at)
    answer: LabAnswer = {
        "mode": profile.config.mode,
        "axes": [_named(name) for name in axes_of(most)],
        "x": x.name,
        "y": y.name,
        "costs": _all_costs(),
        "plain_tokens_per_s": plain.tokens_per_s,
        "given": _choice(looked_at[0], plain),
        "best": _choice(order[0], plain),
        "slowest": _choice(order[-1], plain),
        "num_missing": sum(choice.prediction.num_missing for choice in looked_at),
        "figure": json.loads(figure.to_json()),
    }
    return dumps(answer)


def _axes(asked: Mapping[str, str], most: DrafterSettings) -> tuple[Axis, Axis]:
    known = axes_of(most)
    x, y = usual_axes(most)
    found = []
    for side, usual in (("x", x), ("y", y)):
        name = asked.get(side) or usual.name
        if name not in known:
            raise InvalidSettingError(f"{side} is {shown(name)}; give one of {', '.join(known)}.")
        found.append(known[name])
    if found[0] == found[1]:
        raise InvalidSettingError(f"both sides are {found[0].name}; give two that differ.")
    return found[0], found[1]


def _circumstance(asked: Mapping[str, str]) -> Circumstance:
    name = asked.get("costs") or OWN
    if name != OWN and name not in shipped_names():  # a page names no files of the server
        raise InvalidSettingError(
            f"costs is {shown(name)}; give one of {', '.join((OWN, *shipped_names()))}."
        )
    word = asked.get("batch") or "1"
    if not word.isdecimal() or not 1 <= int(word) <= MOST_TOGETHER:
        raise InvalidSettingError(
            f"batch is {shown(word)}; give a number from 1 to {MOST_TOGETHER}."
        )
    times = _times(asked, "verification"), _times(asked, "drafting")
    return Circumstance(name, named_costs(name), int(word), *times)


def _times(asked: Mapping[str, str], name: str) -> float:
    word = asked.get(name) or "1"
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 1 / _MOST_TIMES <= value <= _MOST_TIMES:
        raise InvalidSettingError(
            f"{name} is {shown(word)}; give how many times as long, from {1 / _MOST_TIMES:g} to "
            f"{_MOST_TIMES:g}."
        )
    return value


def _measure(asked: Mapping[str, str]) -> Measure:
    measures: dict[str, Measure] = {
        "tokens_per_s": "tokens_per_s",
        "tau": "tau",
        "times_plain": "times_plain",
    }
    word = asked.get("measure") or "tokens_per_s"
    if word not in measures:
        raise InvalidSettingError(f"measure is {shown(word)}; give one of {', '.join(measures)}.")
    return measures[word]


def _named(name: str) -> LabName:
    from visualize.figures.setting_map import AXIS_WORDS

    return {"name": name, "words": AXIS_WORDS.get(name, name)}


def _all_costs() -> list[LabName]:
    found: list[LabName] = [{"name": OWN, "words": _OWN_WORDS}]
    for name in shipped_names():
        saved = named_costs(name)
        assert saved is not None, "it comes with the program"
        found.append({"name": name, "words": saved.name})
    return found


def _choice(choice: Choice, plain: Prediction) -> LabChoice:
    found = choice.prediction
    return {
        "words": setting_words(choice.settings),
        "settings": choice.settings.to_dict(),
        "tokens_per_s": found.tokens_per_s,
        "times_plain": found.tokens_per_s / plain.tokens_per_s,
        "tau": found.tau,
    }
