"""The form has every setting, and gives back the configuration that it shows."""

import dataclasses

import pytest

from app.pages.components.settings import _SECTIONS
from app.runs.run_form import (
    changed_settings,
    config_from_values,
    mode_fields,
    mode_help,
    run_fields,
    unheeded_fields,
    values_from_config,
)
from core.config import DEFAULT_TARGET, RunConfig
from core.errors import InvalidSettingError
from core.modes.registry import mode_names, settings_class
from core.modes.share_sd import ShareSdSettings
from tests.app.helpers import form_values


@pytest.mark.parametrize("mode", mode_names())
def test_the_untouched_form_is_the_default_configuration(mode: str) -> None:
    config = config_from_values(form_values(mode))
    assert config == RunConfig(mode=mode, target="scripted")


@pytest.mark.parametrize("mode", mode_names())
def test_every_setting_of_a_mode_is_a_field_with_help(mode: str) -> None:
    cls = settings_class(mode)
    names = [item.name for item in dataclasses.fields(cls)] if cls else []
    fields = mode_fields(mode)
    assert [field.key for field in fields] == [f"{mode}.{name}" for name in names]
    assert all(field.help for field in fields)
    assert mode_help(mode).endswith(".")


def test_every_field_of_a_run_has_its_place_on_the_page() -> None:
    placed = [key for section in _SECTIONS for key in (*section.common, *section.more)]
    assert sorted(placed) == sorted(field.key for field in run_fields())


def test_what_only_the_quantized_self_heeds_counts_where_it_drafts() -> None:
    own = {"hybrid.bits", "hybrid.group_size", "hybrid.keep", "hybrid.offload"}
    for draft in (None, "", "eagle", "sd-mtp", "eagle+some-model"):
        assert unheeded_fields("hybrid", draft, DEFAULT_TARGET) == own
    for draft in ("self", "eagle + self", "share-sd"):
        assert unheeded_fields("hybrid", draft, DEFAULT_TARGET) == frozenset()
    # Of other targets no head is shipped, so that the self drafts where nothing is named.
    assert unheeded_fields("hybrid", "", "another") == frozenset()
    assert unheeded_fields("hybrid", "a+", DEFAULT_TARGET) == frozenset()
    assert unheeded_fields("share-sd", "eagle", DEFAULT_TARGET) == frozenset()
    values = form_values("hybrid", **{"draft": "eagle", "hybrid.bits": 2, "hybrid.depth": 3})
    drafter = config_from_values(values).drafter
    assert (drafter.bits, drafter.depth) == (ShareSdSettings().bits, 3)  # type: ignore[union-attr]
    assert config_from_values({**values, "draft": "self"}).drafter.bits == 2  # type: ignore[union-attr]


def test_a_temperature_above_zero_samples() -> None:
    sampling = config_from_values(form_values(temperature=0.7, seed=3)).sampling
    assert (sampling.do_sample, sampling.temperature, sampling.seed) == (True, 0.7, 3)
    assert config_from_values(form_values(temperature=0)).sampling.is_greedy


def test_what_a_mode_does_not_heed_is_left_out() -> None:
    given = {"draft": "some-model", "draft_failure": "plain"}
    assert config_from_values(form_values("naive", **given)) == RunConfig(target="scripted")
    assert config_from_values(form_values("ngram", **given)).draft is None
    assert config_from_values(form_values("ngram", **given)).draft_failure == "plain"
    assert config_from_values(form_values("sd-classic", **given)).draft == "some-model"


def test_words_are_parted_by_commas_and_numbers_stay_numbers() -> None:
    values = form_values("share-sd", **{"share-sd.keep": "head, 0 ,", "share-sd.bits": 2})
    drafter = config_from_values(values).drafter
    assert isinstance(drafter, ShareSdSettings)
    assert drafter.keep == ("head", "0")
    assert values_from_config(config_from_values(values))["share-sd.keep"] == "head, 0"
    assert drafter.bits == 2


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("", ()),
        ("END", ("END",)),
        ("a, b\n\n c ", ("a, b", " c ")),
        (r"\n\n" + "\n" + r"\t\\n \d", ("\n\n", "\t\\n \\d")),
    ],
)
def test_stop_strings_stand_on_lines_of_their_own(text: str, stops: tuple[str, ...]) -> None:
    config = config_from_values(form_values(stop=text))
    assert config.stop == stops
    again = {**form_values(), "stop": values_from_config(config)["stop"]}
    assert config_from_values(again).stop == stops


def test_penalties_and_biases_come_from_the_form_and_are_told_in_a_few_words() -> None:
    config = config_from_values(
        form_values(repetition_penalty=1.2, logit_bias="5=-100\n hello=2", ignore_eos=True)
    )
    sampling = config.sampling
    assert (sampling.repetition_penalty, sampling.ignore_eos) == (1.2, True)
    assert sampling.logit_bias == ("5=-100", " hello=2")
    assert "logit bias 5=-100 and  hello=2, " in changed_settings(config)


def test_empty_names_are_unset() -> None:
    config = config_from_values(form_values(draft="  ", dtype="", target=" "))
    assert (config.draft, config.dtype, config.target) == (None, None, RunConfig().target)


@pytest.mark.parametrize(("word", "meaning"), [("", None), ("on", True), ("off", False)])
def test_a_switch_may_be_left_to_the_program(word: str, meaning: bool | None) -> None:
    config = config_from_values(form_values(compile=word))
    assert config.compile is meaning
    assert values_from_config(config)["compile"] == word


@pytest.mark.parametrize("value", [None, 0, 1.5, "many"])
def test_wrong_numbers_are_refused_in_words(value: object) -> None:
    with pytest.raises(InvalidSettingError, match="max_new_tokens"):
        config_from_values(form_values(max_new_tokens=value))
