"""Presets: a gallery of runs worth seeing, each with one sentence of what to look at."""

from typing import Any

import gradio as gr

from app.messages import PresetCard, Presets
from app.pages.components.settings import SettingsPanel
from app.pages.components.view import QUIET, view
from app.pages.tabs.compare import CompareTab, entries_message
from app.pages.tabs.playground import Playground
from app.runs.run_form import config_from_values, values_from_config
from core.config import RunConfig
from core.runtime.strict_json import dumps
from presets.gallery import PRESETS, Preset, find_preset


def create_presets_tab(
    session: gr.State, settings: SettingsPanel, playground: Playground, compare: CompareTab
) -> None:
    """Builds the gallery; choosing a preset fills form and message, and sends it."""
    gallery = view("presets_view", label="Presets", value=gallery_message())
    names = ["mode", *settings.controls]
    outputs = [
        compare.prompt,
        compare.stage,
        settings.system,
        settings.raw,
        playground.message,
        settings.mode,
        *settings.controls.values(),
    ]

    def choose(session: Any, target: str, event: gr.EventData) -> list[Any]:
        preset = find_preset(str(event.preset))
        values = preset_values(preset, target)
        session.entries[:] = entries_of(preset, target)
        listed = entries_message(session.entries)
        return [
            preset.prompt,
            listed,
            preset.system,
            False,
            preset.prompt,
            *(values[name] for name in names),
        ]

    chosen = gallery.select(
        choose,
        [session, settings.controls["target"]],
        outputs,
        queue=False,
        js="(...given) => (window.specdecodes?.presetChosen(), given)",
        **QUIET,
    )
    playground.send_after(chosen)


def preset_values(preset: Preset, target: str) -> dict[str, Any]:
    """The form's values for a preset on a target."""
    return {**values_from_config(preset.config), "target": target}


def entries_of(preset: Preset, target: str) -> list[RunConfig]:
    """What the compare tab runs for a preset, beside plain decoding."""
    configs = [preset.config, *(RunConfig.from_dict(values) for values in preset.against)]
    return [
        config_from_values({**values_from_config(config), "target": target})
        for config in configs
        if config.mode != "naive"
    ]


def gallery_message() -> str:
    """The gallery as the page shows it."""
    cards: list[PresetCard] = [
        {
            "name": preset.name,
            "title": preset.title,
            "watch": preset.watch,
            "mode": preset.config.mode,
            "prompt": preset.prompt,
            "is_paired": bool(preset.against),
        }
        for preset in PRESETS
    ]
    message: Presets = {"presets": cards}
    return dumps(message)
