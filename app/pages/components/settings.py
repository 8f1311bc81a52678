"""The settings of a run: controls made from form fields, grouped by mode."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component

from app.runs.handlers import Handlers
from app.runs.run_form import FormField, mode_fields, mode_help, run_fields, unheeded_fields
from core.config import DEFAULT_TARGET, settings_of
from core.modes.registry import mode_names
from core.modes.server import MODE as SERVER_MODE
from core.modes.server import is_address
from core.modes.settings import SHIPPED_HEAD
from presets.gallery import Preset

_UNSET = "automatic"


class _Section(NamedTuple):
    """Controls under one title: those that most runs change, and the others, folded away."""

    title: str
    common: tuple[str, ...]
    more_title: str
    more: tuple[str, ...]


# Every field of `run_fields` stands in one of these.
_SECTIONS = (
    _Section(
        "Answer",
        ("max_new_tokens", "temperature", "seed"),
        "Choice, ends and penalties",
        (
            "top_k", "top_p", "min_p", "accept", "stop", "min_new_tokens", "ignore_eos",
            "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "constraint",
        ),
    ),
    _Section(
        "Model", ("target", "draft"), "Weights and failures",
        ("weights", "dtype", "compile", "draft_failure"),
    ),
)  # fmt: skip
# Of a mode's own settings; the others are folded away.
_COMMON_OF_MODES = ("num_nodes", "depth", "branching", "bits", "num_layers", "memory")


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
    hidden = unheeded_fields(chosen_mode, values.get("draft"), target)
    for name in mode_names():
        own = mode_fields(name)
        with gr.Column(
            visible=bool(own) and name == chosen_mode, elem_classes="mode-settings"
        ) as group:
            common = [field for field in own if _name_of(field) in _COMMON_OF_MODES]
            for field in sorted(common, key=lambda item: _COMMON_OF_MODES.index(_name_of(item))):
                controls[field.key] = _control(_valued(field, values), field.key not in hidden)
            with _folded(
                "More of this drafter", [f for f in own if f not in common], values
            ) as rest:
                for field in rest:
                    controls[field.key] = _control(field, field.key not in hidden)
        groups.append(group)
    heeded = settings_of(chosen_mode)
    for section in _SECTIONS:
        _title(section.title)
        for key in section.common:
            controls[key] = _control(fields[key], key in heeded)
        with _folded(section.more_title, [usual[key] for key in section.more], values) as rest:
            for field in rest:
                controls[field.key] = _control(field, field.key in heeded)
    # Those that hang on the draft model.
    dependent_keys = [
        field.key
        for name in mode_names()
        for field in mode_fields(name)
        if field.key in unheeded_fields(name, SHIPPED_HEAD, target)
    ]
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

    def show_mode(chosen: str, draft: str, target: str) -> list[Any]:
        help_text, why_not = handlers.describe_mode(chosen, draft)
        unheeded = unheeded_fields(chosen, draft, target)
        return [
            gr.update(info=help_text),
            gr.update(value=why_not, visible=bool(why_not)),
            *(
                gr.update(visible=name == chosen and bool(mode_fields(name)))
                for name in mode_names()
            ),
            *(gr.update(visible=key in settings_of(chosen)) for key in partial_keys),
            *(gr.update(visible=key not in unheeded) for key in dependent_keys),
        ]

    gr.on(
        [mode.change, controls["draft"].blur, controls["target"].blur],
        show_mode,
        [mode, controls["draft"], controls["target"]],
        [mode, reason, *groups, *(controls[key] for key in [*partial_keys, *dependent_keys])],
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


def _name_of(field: FormField) -> str:
    """The setting's own name, without its mode."""
    return field.key.rpartition(".")[2]


@contextmanager
def _folded(
    title: str, fields: list[FormField], values: dict[str, Any]
) -> Iterator[list[FormField]]:
    """The fields with their values, whose controls are folded away unless one is not as usual."""
    valued = [_valued(field, values) for field in fields]
    if not fields:
        yield []
        return
    with gr.Accordion(title, open=valued != fields, elem_classes="settings-more"):
        yield valued


def _title(text: str) -> None:
    gr.HTML(
        html_template='<h2 class="section-title">{{value}}</h2>',
        value=text,
        apply_default_css=False,
        elem_classes="section-block",
    )


def _control(field: FormField, visible: bool) -> Component:
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
