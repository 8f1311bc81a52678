"""Sets of settings: what the loaded target can run of them, and the sentence of the rest."""

from typing import Any

import pytest

from app.engines.engine_slot import EngineKey
from app.engines.model_pool import ModelPool
from app.runs.comparison_sets import Chosen, chosen_of
from core.config import RunConfig
from core.errors import InvalidSettingError
from core.modes.registry import mode_names, modes
from presets.sets import SETS, find_set
from tests.app.helpers import form_values
from tests.app.scripted_engine import ScriptedEngine, load_scripted

WHY = "layer-skip needs other layers."


def pool() -> ModelPool:
    made = ModelPool(load_scripted(ScriptedEngine(unavailable={"layer-skip": WHY})))
    made.preload(EngineKey("scripted", None)).join()
    return made


def values(**changed: Any) -> dict[str, Any]:
    """The form with the fields of all modes."""
    every: dict[str, Any] = {}
    for mode in mode_names():
        every |= form_values(mode)
    return {**every, "mode": "ngram", **changed}


def chosen(name: str, **changed: Any) -> Chosen:
    return chosen_of(find_set(name), values(**changed), pool())


def test_all_modes_are_those_that_can_run_with_the_settings_of_the_form() -> None:
    found = chosen("all", max_new_tokens=33, **{"share-sd.bits": 3})
    drafting = [mode.name for mode in modes().values() if mode.factory is not None]
    assert [entry.mode for entry in found.entries] == [
        one for one in drafting if one != "layer-skip"
    ]
    assert found.left_out == [{"mode": "layer-skip", "reason": WHY}]
    assert {entry.max_new_tokens for entry in found.entries} == {33}
    share = next(entry for entry in found.entries if entry.mode == "share-sd")
    assert share.drafter is not None and share.drafter.to_dict()["bits"] == 3


def test_a_setting_that_is_none_is_told_with_its_modes_and_the_others_stay() -> None:
    found = chosen("all", **{"share-sd.bits": 99})
    (told,) = (facts for facts in found.left_out if facts["mode"] == "share-sd")
    assert "bits is 99" in str(told["reason"])
    assert any(entry.mode == "ngram" for entry in found.entries)


def test_a_set_has_its_own_drafter_settings_and_the_forms_answer() -> None:
    found = chosen("bits", max_new_tokens=33, **{"share-sd.bits": 3})
    told = [(entry.drafter.to_dict()["bits"], entry.max_new_tokens) for entry in found.entries]  # type: ignore[union-attr]
    assert told == [(2, 33), (3, 33), (4, 33), (8, 33)]


def test_what_a_target_can_run_is_known_once_it_is_loaded() -> None:
    with pytest.raises(InvalidSettingError, match="'other' is not loaded"):
        chosen("all", target="other")


@pytest.mark.parametrize("one", SETS, ids=lambda one: one.name)
def test_sets_are_configurations_with_a_sentence(one: Any) -> None:
    assert one.watch.endswith(".") and one.title
    for member in one.members:
        assert RunConfig.from_dict(member).mode != "naive"
    assert find_set(one.name) is one
