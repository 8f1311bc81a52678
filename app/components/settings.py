"""The settings of a run: controls made from form fields, grouped by mode."""

from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component

from app.handlers import Handlers
from app.run_form import FormField, mode_fields, mode_help, run_fields
from core.config import MODES

DEFAULT_MODE = "ngram"
_UNSET = "automatic"


class SettingsPanel(NamedTuple):
    """The controls whose values make a run."""

    system: gr.Textbox
    mode: gr.Dropdown
    reason: gr.Markdown
    """Why the chosen mode cannot run."""
    controls: dict[str, Component]
    """By the key of their form field, of all modes."""


def create_settings(handlers: Handlers, target: str) -> SettingsPanel:
    """Builds the controls; those of a mode show while it is chosen."""
    fields = {field.key: field for field in run_fields()}
    controls = {"target": _control(fields.pop("target")._replace(default=target))}
    mode = gr.Dropdown(
        list(MODES),
        value=DEFAULT_MODE,
        label="Mode",
        info=mode_help(DEFAULT_MODE),
        filterable=False,
        elem_id="setting-mode",
    )
    reason = gr.Markdown(visible=False, elem_id="mode-reason")
    groups = []
    for name in MODES:
        visible = name == DEFAULT_MODE
        with gr.Column(visible=visible, elem_classes="mode-settings") as group:
            controls |= _placed(mode_fields(name))
        groups.append(group)
    controls |= _placed(list(fields.values()))
    system = gr.Textbox(
        label="System prompt",
        info="Stands before the chat; empty leaves it to the model's template",
        lines=2,
        max_lines=8,
        elem_id="setting-system",
    )

    def show_mode(chosen: str) -> list[Any]:
        help_text, why_not = handlers.describe_mode(chosen)
        return [
            gr.update(info=help_text),
            gr.update(value=why_not, visible=bool(why_not)),
            *(gr.update(visible=name == chosen) for name in MODES),
        ]

    mode.change(
        show_mode,
        mode,
        [mode, reason, *groups],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    return SettingsPanel(system, mode, reason, controls)


def _placed(fields: list[FormField]) -> dict[str, Component]:
    """Numbers stand two in a row, everything else alone."""
    controls: dict[str, Component] = {}
    numbers = [field for field in fields if field.kind in ("int", "float")]
    for field in fields:
        if field.kind not in ("int", "float"):
            controls[field.key] = _control(field)
    for first in range(0, len(numbers), 2):
        with gr.Row(elem_classes="number-pair", equal_height=False):
            for field in numbers[first : first + 2]:
                controls[field.key] = _control(field)
    return controls


def _control(field: FormField) -> Component:
    """The control of a field; limits are told by its help and checked by the settings class."""
    common: dict[str, Any] = {
        "label": field.label,
        "info": field.help,
        "value": field.default,
        "elem_id": "setting-" + field.key.replace(".", "-").replace("_", "-"),
    }
    match field.kind:
        case "bool":
            return gr.Checkbox(**common)
        case "int":
            return gr.Number(**common, precision=0, min_width=100)
        case "float":
            return gr.Number(**common, step=0.05, min_width=100)
        case "choice":
            choices = [(word or _UNSET, word) for word in field.choices]
            return gr.Dropdown(
                choices, **{**common, "value": field.default or ""}, filterable=False
            )
        case "text":
            return gr.Textbox(**common, max_lines=1)
