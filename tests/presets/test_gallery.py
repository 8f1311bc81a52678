"""Presets are data that the engine takes as it is."""

import pytest

from core.config import RunConfig
from core.drafters.suffix_memory import SuffixMemory
from core.engine import Engine
from core.errors import InvalidSettingError
from core.trace.events import Committed, RunFinished
from presets.gallery import PRESETS, Preset, find_preset
from tests.conftest import run_trace

EVERY = pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)


@EVERY
def test_settings_of_a_preset_are_a_configuration(preset: Preset) -> None:
    assert preset.config.mode != "naive"
    for values in preset.against:
        RunConfig.from_dict(values)


@EVERY
def test_a_preset_says_in_one_sentence_what_to_look_at(preset: Preset) -> None:
    assert preset.watch.endswith(".")
    assert preset.title
    assert preset.prompt.strip()


def test_names_are_different_and_found() -> None:
    assert len({preset.name for preset in PRESETS}) == len(PRESETS)
    assert find_preset("wide-tree").config.mode == "share-sd"
    with pytest.raises(InvalidSettingError, match="quoted-summary"):
        find_preset("nothing")


def in_tests(preset: Preset) -> object:
    """Quantizing to other than the default bits takes a minute each; those run apart."""
    bits = getattr(preset.config.drafter, "bits", None)
    is_long = preset.config.mode == "share-sd" and bits in (2, 3)
    return pytest.param(
        preset, marks=pytest.mark.slow if is_long else pytest.mark.model, id=preset.name
    )


@pytest.mark.parametrize("preset", [in_tests(preset) for preset in PRESETS])
def test_a_preset_runs_on_the_default_model(preset: Preset, default_engine: Engine) -> None:
    settings = {**preset.settings, "max_new_tokens": 24}
    config = RunConfig.from_dict(settings)
    trace = run_trace(default_engine, preset.prompt, config, SuffixMemory())
    assert trace.first(RunFinished) is not None
    assert trace.stats.num_tokens > 0
    assert trace.stats.num_drafted > 0 or preset.config.mode == "ngram"


@pytest.mark.model
def test_what_is_asked_again_comes_from_the_memory(default_engine: Engine) -> None:
    preset, memory = find_preset("asked-again"), SuffixMemory()
    config = RunConfig.from_dict({**preset.settings, "max_new_tokens": 48})
    first, again = (run_trace(default_engine, preset.prompt, config, memory) for _ in range(2))
    assert again.token_ids == first.token_ids
    assert again.stats.num_steps < 0.5 * first.stats.num_steps
    sources = [source for event in again.of_kind(Committed) for source in event.sources]
    assert sources.count("remembered") > 0.5 * len(sources)


@pytest.mark.model
def test_a_drafter_equal_to_its_target_is_always_accepted(default_engine: Engine) -> None:
    preset = find_preset("equal-drafter")
    trace = run_trace(
        default_engine,
        preset.prompt,
        RunConfig.from_dict({**preset.settings, "max_new_tokens": 24}),
    )
    assert trace.stats.acceptance_rate == 1.0
