"""Sets of settings to compare: what the loaded target can run of them, and why not the rest."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from app.engines.model_pool import ModelPool
from app.messages import ModeFacts
from app.runs.run_form import config_from_values, values_from_config
from core.config import DEFAULT_TARGET, RunConfig
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.modes.registry import modes
from presets.sets import ComparisonSet


class Chosen(NamedTuple):
    """What becomes of a set."""

    entries: list[RunConfig]
    left_out: list[ModeFacts]


def chosen_of(one: ComparisonSet, values: dict[str, Any], pool: ModelPool) -> Chosen:
    """The members of a set that can run under the form's values, which say all that the set does not.

    Raises InvalidSettingError where that is not known, as the target is not loaded.
    """
    target = str(values["target"] or DEFAULT_TARGET).strip()
    if pool.target != target:
        raise InvalidSettingError(
            f"{shown(target)} is not loaded, so what it can run is not known; load it in the tab "
            "Models, or wait until it is."
        )
    entries: list[RunConfig] = []
    left_out: list[ModeFacts] = []
    for member in _members(one, values):
        mode = member["mode"]
        try:
            config = config_from_values(member)
            reason = pool.unavailable_reason(mode, config.draft)
        except SpecDecodesError as error:
            reason = str(error)
        if reason is None:
            entries.append(config)
        elif all(facts["mode"] != mode for facts in left_out):
            left_out.append({"mode": mode, "reason": reason})
    return Chosen(list(dict.fromkeys(entries)), left_out)


def _members(one: ComparisonSet, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The form's values of each."""
    if not one.members:
        for mode in modes().values():
            if mode.factory is not None:
                yield {**values, "mode": mode.name}
    for member in one.members:
        own = values_from_config(RunConfig.from_dict(member))
        prefix = f"{member['mode']}."
        named = {key: value for key, value in own.items() if key.startswith(prefix)}
        yield {**values, **named, "mode": member["mode"]}
