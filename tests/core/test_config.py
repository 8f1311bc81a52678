"""Settings check themselves and survive the way through JSON."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.acceptance.registry import lossy_rule
from core.config import RunConfig, SamplingConfig
from core.errors import InvalidSettingError
from core.modes.ngram import NgramSettings
from core.modes.registry import mode_names, settings_class
from core.modes.settings import DrafterSettings

samplings = st.builds(
    SamplingConfig,
    temperature=st.floats(0.0, 100.0),
    top_k=st.integers(0, 10**6),
    top_p=st.floats(1e-6, 1.0),
    min_p=st.floats(0.0, 1.0),
    repetition_penalty=st.floats(0.01, 100.0),
    presence_penalty=st.floats(-2.0, 2.0),
    frequency_penalty=st.floats(-2.0, 2.0),
    logit_bias=st.dictionaries(
        st.integers(0, 10**6) | st.text(min_size=1, max_size=5),
        st.floats(-100.0, 100.0),
        max_size=3,
    ),
    min_new_tokens=st.just(0) | st.just(1),
    ignore_eos=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)
ngrams = st.builds(
    NgramSettings,
    num_nodes=st.integers(1, 256),
    depth=st.integers(1, 256),
    fixed_size=st.booleans(),
)
numbers = {
    "max_new_tokens": st.integers(1, 10**6),
    "trace_top_k": st.integers(0, 20),
    "dtype": st.sampled_from([None, "float32", "bfloat16", "float16"]),
    "device": st.sampled_from(["cpu", "cuda"]),
    "target": st.text(),
    "stop": st.lists(st.text(min_size=1, max_size=5), max_size=16).map(tuple),
}
configs = (
    st.builds(RunConfig, mode=st.just("naive"), sampling=samplings, **numbers)
    | st.builds(
        RunConfig, mode=st.just("ngram"), sampling=samplings, drafter=st.none() | ngrams, **numbers
    )
    | st.builds(RunConfig, mode=st.just("sd-classic"), draft=st.none() | st.text(), **numbers)
)


@given(config=configs)
def test_the_way_through_json_is_the_identity(config: RunConfig) -> None:
    values = json.loads(json.dumps(config.to_dict()))
    assert values == config.to_dict() and RunConfig.from_dict(values) == config


@pytest.mark.parametrize("mode", mode_names())
def test_every_mode_has_settings_that_survive_json(mode: str) -> None:
    config = RunConfig.from_dict({"mode": mode})
    wanted = settings_class(mode)
    assert (config.drafter is None) if wanted is None else isinstance(config.drafter, wanted)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_tokens": 3}, "unknown setting 'max_tokens' for RunConfig; known are"),
        ({"sampling": {"temp": 1.0}}, "unknown setting 'temp' for SamplingConfig"),
        ({"mode": "ngram", "drafter": {"width": 1}}, "unknown setting 'width' for NgramSettings"),
        ({"mode": "magic"}, "mode is 'magic'; give one of naive"),
        ({"mode": []}, "mode is"),
        ({"mode": None}, "mode is None"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; give a value from 1"),
        ({"max_new_tokens": 1.0}, "give a whole number"),
        ({"max_new_tokens": True}, "give a whole number"),
        ({"max_new_tokens": "many"}, "give a whole number"),
        ({"max_new_tokens": None}, "give a whole number"),
        ({"sampling": {"temperature": math.nan}}, "give a finite number"),
        ({"sampling": {"temperature": math.inf}}, "give a finite number"),
        ({"sampling": {"temperature": 10**400}}, "temperature is"),
        ({"sampling": {"temperature": -1}}, "give a value from 0.0 to 100.0"),
        ({"sampling": {"top_p": 0}}, "give a value from 1e-06 to 1.0"),
        ({"sampling": {"seed": -1}}, "seed is -1"),
        ({"sampling": {"min_p": 1.5}}, "min_p is 1.5; give a value from 0.0 to 1.0"),
        ({"sampling": {"min_p": 0.1}}, "min_p narrows what is drawn and nothing says that"),
        ({"sampling": {"repetition_penalty": 0}}, "give a value from 0.01 to 100.0"),
        ({"sampling": {"presence_penalty": 3}}, "give a value from -2.0 to 2.0"),
        ({"sampling": {"frequency_penalty": -2.5}}, "give a value from -2.0 to 2.0"),
        ({"sampling": {"logit_bias": {"5": 101}}}, "'5=101'; give TOKEN=NUMBER, with a token's id"),
        ({"sampling": {"logit_bias": {"5": None}}}, "logit_bias has '5=None'; give TOKEN=NUMBER"),
        ({"sampling": {"logit_bias": {"": 1}}}, "logit_bias has '=1'; give TOKEN=NUMBER"),
        ({"sampling": {"logit_bias": ["5"]}}, "logit_bias has '5'; give TOKEN=NUMBER"),
        ({"sampling": {"logit_bias": [5]}}, "give a list of str"),
        ({"sampling": {"logit_bias": dict.fromkeys(range(1025), 1)}}, "give at most 1024"),
        ({"sampling": {"ignore_eos": 1}}, "ignore_eos is 1; give true or false"),
        (
            {"max_new_tokens": 5, "sampling": {"min_new_tokens": 6}},
            "min_new_tokens is 6 and max_new_tokens 5; give a number of at most that",
        ),
        ({"sampling": []}, "sampling"),
        ({"sampling": "greedy"}, "sampling"),
        ({"sampling": 5}, "sampling"),
        ({"mode": "ngram", "drafter": 5}, "drafter"),
        ({"mode": "naive", "drafter": {"depth": 3}}, "takes no drafter settings"),
        ({"dtype": "float64"}, "give one of float32, bfloat16, float16"),
        ({"dtype": ["float32"]}, "dtype is"),
        ({"accept": "always"}, "give one of match, rejection, typical"),
        ({"device": "tpu"}, "give one of cpu, cuda"),
        ({"target": 5}, "target is 5; give text"),
        ({1: 2}, "unknown setting 1"),
    ],
)
def test_bad_values_are_refused_in_words(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        RunConfig.from_dict(values)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
names = [item.name for item in dataclasses.fields(RunConfig)]


@given(values=st.dictionaries(st.sampled_from(names) | st.text(max_size=5), json_values))
def test_no_json_gives_anything_but_a_configuration_or_its_error(values: dict[str, Any]) -> None:
    try:
        config = RunConfig.from_dict(values)
    except InvalidSettingError:
        return
    assert RunConfig.from_dict(config.to_dict()) == config


def test_settings_of_another_mode_are_refused() -> None:
    class OtherSettings(DrafterSettings):
        pass

    with pytest.raises(InvalidSettingError, match="mode ngram takes NgramSettings"):
        RunConfig(mode="ngram", drafter=OtherSettings())


@pytest.mark.parametrize(
    ("given", "temperature"),
    [
        ({}, 0.0),
        ({"temperature": 0}, 0.0),
        ({"do_sample": False}, 0.0),
        ({"do_sample": False, "temperature": 0.0}, 0.0),
        ({"do_sample": None, "temperature": None}, 0.0),
        ({"temperature": 0.7}, 0.7),
        ({"temperature": 1e-30}, 1e-30),
        ({"do_sample": True}, 1.0),
        ({"do_sample": True, "temperature": 0.7}, 0.7),
        ({"temperature": 0, "top_k": 5, "top_p": 0.5}, 0.0),
    ],
)
def test_the_temperature_says_whether_tokens_are_drawn(
    given: dict[str, Any], temperature: float
) -> None:
    sampling = RunConfig.from_dict({"sampling": given}).sampling
    assert sampling.temperature == temperature
    assert sampling.do_sample is (temperature > 0)
    assert sampling.is_greedy is (temperature == 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"do_sample": True, "temperature": 0}, "give a temperature above 0, or leave do_sample"),
        ({"do_sample": False, "temperature": 0.7}, "do_sample is false and temperature 0.7 draws"),
        ({"top_p": 0.9}, "top_p narrows what is drawn and nothing says that tokens are drawn"),
        ({"top_k": 5}, "give a temperature as well, or leave top_k out"),
        ({"do_sample": "yes"}, "do_sample is 'yes'; give true or false"),
        ({"temperature": "hot"}, "temperature is 'hot'; give a finite number"),
        ({"temperature": True}, "temperature is True; give a finite number"),
    ],
)
def test_words_about_sampling_that_contradict_are_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        SamplingConfig(**given)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"accept": "typical"}, "typical"),
        ({"accept": "match"}, ""),
        ({"accept": "rejection"}, ""),
        ({"accept": "typical", "sampling": {"do_sample": False}}, ""),
        ({"accept": "typical", "sampling": {"temperature": 0.0}}, ""),
    ],
)
def test_a_rule_is_lossy_where_it_changes_what_is_drawn(changed: dict[str, Any], rule: str) -> None:
    values = {"mode": "ngram", "sampling": {"do_sample": True}, **changed}
    assert lossy_rule(RunConfig.from_dict(values).to_dict()) == rule


def test_settings_from_elsewhere_may_lack_anything_and_unknown_rules_count_as_lossy() -> None:
    assert lossy_rule({}) == lossy_rule({"accept": "typical"}) == lossy_rule({"accept": 3}) == ""
    drawn = {"accept": "guess", "sampling": {"do_sample": True}}
    assert lossy_rule(drawn) == "guess"
    assert lossy_rule({**drawn, "mode": "naive"}) == ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "naive", "draft": "x"}, "draft is 'x' and is no setting of mode naive; leave it"),
        (
            {"mode": "ngram", "draft": "x"},
            "the modes sd-classic, sd-block, sd-eagle, sd-medusa, sd-mtp, hybrid",
        ),
        ({"mode": "naive", "accept": "typical"}, "accept is 'typical' and is no setting of mode"),
        ({"mode": "naive", "draft_failure": "plain"}, "draft_failure is 'plain' and is no setting"),
        (
            {"mode": "layer-skip", "drafter": {"layers": ["0"], "num_layers": 3}},
            "leave one of them out",
        ),
        (
            {"mode": "share-sd", "drafter": {"bits": 16, "keep": ["head"]}},
            "bits is 16, which quantizes nothing, and keep is for quantized weights",
        ),
    ],
)
def test_what_a_mode_would_not_heed_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        RunConfig.from_dict(values)


def test_the_same_run_without_a_drafter_keeps_what_plain_decoding_heeds() -> None:
    drawn = {"sampling": {"temperature": 0.7}, "max_new_tokens": 3}
    config = RunConfig.from_dict(
        {"mode": "hybrid", "draft": "x", "accept": "typical", "draft_failure": "plain", **drawn}
    )
    assert config.plain() == RunConfig.from_dict({"mode": "naive", **drawn})
