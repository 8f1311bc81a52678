"""The settings of a run: controls made from form fields, grouped by mode."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component

from app.runs.handlers import Handlers
from app.runs.run_form import FormField, mode_fields, mode_help, run_fields
from core.config import DEFAULT_TARGET, settings_of
from core.modes.registry import mode_names
from core.modes.server import MODE as SERVER_MODE
from core.modes.server import is_address
from presets.gallery import Preset

_UNSET = "automatic"
# Every field of `run_fields` stands in one of these.
_SECTIONS = {
    "Answer": ("max_new_tokens", "temperature", "top_k", "top_p", "seed", "accept"),
    "Ends and penalties": (
        "stop", "min_new_tokens", "ignore_eos", "min_p", "repetition_penalty", "presence_penalty",
        "frequency_penalty", "logit_bias", "constraint",
    ),
    "Model": ("target", "draft", "weights", "dtype", "compile", "draft_failure"),
}  # fmt: skip
# Open only where something in it is not as it always is.
_FOLDED = "Ends and penalties"


class SettingsPanel(NamedTuple):
    """The controls whose values make a run."""

    system: gr.Textbox
    raw: gr.Checkbox
    """Whether messages are continued as they are."""
    mode: gr.Dropdown
    reason: gr.Markdown
    """Why the chosen mode cannot run."""
    controls: dict[str, Component]
    """By the key of their form field, of all modes."""

    @property
    def inputs(self) -> list[Component]:
        """What a listener takes to know the settings of a run."""
        return [self.mode, *self.controls.values()]

    def values(self, given: Sequence[Any]) -> dict[str, Any]:
        """The form's values from those of `inputs`."""
        return dict(zip(["mode", *self.controls], given, strict=True))


def create_settings(
    handlers: Handlers, target: str, values: dict[str, Any], preset: Preset | None
) -> SettingsPanel:
    """Builds the controls; those of a mode show while it is chosen. `values` are set at first."""
    # The fastest mode that needs nothing made ready first: for the default target a head is shipped.
    default_mode = _usual_mode(target)
    values = {"target": target, "mode": default_mode, **values}
    chosen_mode = values["mode"]
    usual = {field.key: field for field in run_fields()}
    fields = {key: _valued(field, values) for key, field in usual.items()}
    controls: dict[str, Component] = {}
    _title("Drafter")
    mode = gr.Dropdown(
        list(mode_names()),
        value=chosen_mode,
        label="Mode",
        info=mode_help(chosen_mode),
        filterable=False,
        elem_id="setting-mode",
    )
    reason = gr.Markdown(visible=False, elem_id="mode-reason")
    groups = []
    for name in mode_names():
        own = [_valued(field, values) for field in mode_fields(name)]
        with gr.Column(
            visible=bool(own) and name == chosen_mode, elem_classes="mode-settings"
        ) as group:
            controls |= {field.key: _control(field) for field in own}
        groups.append(group)
    for title, keys in _SECTIONS.items():
        with _section(title, is_used=any(fields[key] != usual[key] for key in keys)):
            for key in keys:
                controls[key] = _control(fields[key], visible=key in settings_of(chosen_mode))
    # Those that not every mode heeds.
    partial_keys = [
        key for key in fields if not all(key in settings_of(name) for name in mode_names())
    ]
    _title("Chat")
    system = gr.Textbox(
        preset.system if preset else "",
        label="System prompt",
        info="Stands before the chat; empty leaves it to the model's template",
        lines=2,
        max_lines=8,
        elem_id="setting-system",
    )

    raw = gr.Checkbox(
        False,
        label="Raw text",
        info="Continues the message as it is: no chat template, no earlier turns; control tokens in it "
        "count",
        elem_id="setting-raw",
    )

    def show_mode(chosen: str, draft: str) -> list[Any]:
        help_text, why_not = handlers.describe_mode(chosen, draft)
        return [
            gr.update(info=help_text),
            gr.update(value=why_not, visible=bool(why_not)),
            *(
                gr.update(visible=name == chosen and bool(mode_fields(name)))
                for name in mode_names()
            ),
            *(gr.update(visible=key in settings_of(chosen)) for key in partial_keys),
        ]

    gr.on(
        [mode.change, controls["draft"].blur],
        show_mode,
        [mode, controls["draft"]],
        [mode, reason, *groups, *(controls[key] for key in partial_keys)],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    # A server has one mode, and it is no other target's.
    controls["target"].change(
        _mode_of_target,
        [controls["target"], mode],
        mode,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    return SettingsPanel(system, raw, mode, reason, controls)


def _usual_mode(target: str) -> str:
    if is_address(target):
        return SERVER_MODE
    return "hybrid" if target == DEFAULT_TARGET else "ngram"


def _mode_of_target(target: str | None, mode: str) -> str:
    """The mode, where it is one of the target, else the usual one of that."""
    target = (target or "").strip()
    return mode if is_address(target) == (mode == SERVER_MODE) else _usual_mode(target)


def _valued(field: FormField, values: dict[str, Any]) -> FormField:
    return field._replace(default=values.get(field.key, field.default))


@contextmanager
def _section(title: str, *, is_used: bool) -> Iterator[None]:
    """Where the controls of a section are made."""
    if title != _FOLDED:
        _title(title)
        yield
        return
    with gr.Accordion(title, open=is_used, elem_id="settings-folded"):
        yield


def _title(text: str) -> None:
    gr.HTML(
        html_template='<h2 class="section-title">{{value}}</h2>',
        value=text,
        apply_default_css=False,
        elem_classes="section-block",
    )


def _control(field: FormField, *, visible: bool = True) -> Component:
    """The control of a field; limits are told by its help and checked by the settings class."""
    common: dict[str, Any] = {
        "label": field.label,
        "info": field.help,
        "value": field.default,
        "visible": visible,
        "elem_id": "setting-" + field.key.replace(".", "-").replace("_", "-"),
    }
    match field.kind:
        case "bool":
            return gr.Checkbox(**common)
        case "int":
            return gr.Number(**common, precision=0, min_width=60)
        case "float":
            return gr.Number(**common, step=0.05, min_width=60)
        case "choice":
            choices = [(str(value) or _UNSET, value) for value in field.choices]
            return gr.Dropdown(choices, **common, filterable=False)
        case "text" | "words":
            return gr.Textbox(**common, max_lines=1)
        case "lines":
            return gr.Textbox(**common, lines=1, max_lines=6)
