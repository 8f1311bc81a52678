"""Lab: a prompt is measured once, and every "what if" is answered from it."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.pages.components.settings import SettingsPanel
from app.pages.components.view import QUIET, asking_view, told_runs
from app.runs.handlers import Handlers, notice
from app.runs.lab import measure, resume_lab
from app.runs.run_form import config_from_values, values_from_config
from app.runs.session import ChatSession
from core.config import RunConfig
from core.errors import SpecDecodesError

_PROMPT = "Write a short poem about rain, then say its first line again."


def create_lab_tab(handlers: Handlers, session: gr.State, settings: SettingsPanel) -> None:
    """Builds the prompt and the map."""
    with gr.Row(elem_id="lab-form"):
        prompt = gr.Textbox(
            _PROMPT,
            label="Prompt",
            info="Measured with the mode on the left, whose settings are the largest that are looked at",
            lines=2,
            max_lines=6,
            elem_id="lab-prompt",
        )
    with gr.Row(elem_id="lab-actions"):
        run = gr.Button("Measure", variant="primary", elem_id="lab-run", scale=0)
        stop = gr.Button("Stop", variant="stop", elem_id="lab-stop", scale=0)

    shown = asking_view(handlers, "lab_view", label="What the profile predicts")

    def run_lab(
        session: Any, request: gr.Request, text: str, raw: Any, *given: Any
    ) -> Iterator[str]:
        session.take(request)
        try:
            config = config_from_values(settings.values(given))
            yield from measure(handlers, session, text, config, raw=bool(raw))
        except SpecDecodesError as error:
            yield notice(error)

    inputs = [session, prompt, settings.raw, *settings.inputs]
    run.click(run_lab, inputs, shown, concurrency_limit=None, **QUIET)

    def resume(session: Any, request: gr.Request, event: gr.EventData) -> Iterator[str]:
        session.take(request)
        yield from resume_lab(handlers, session, told_runs(event))

    # What the view's script asks for with the run that this tab of the browser remembers.
    shown.apply(resume, session, shown, concurrency_limit=None, **QUIET)
    stop.click(ChatSession.stop_lab, session, None, queue=False, **QUIET)

    names = list(settings.controls)

    def use(event: gr.EventData) -> list[Any]:
        mode, chosen = getattr(event, "mode", None), getattr(event, "settings", None)
        try:
            config = RunConfig.from_dict({"mode": mode, "drafter": chosen})
        except SpecDecodesError:  # whoever asks may send anything
            return [gr.skip()] * (len(names) + 1)
        values = values_from_config(config)
        own = f"{config.mode}."
        changed = [values[name] if name.startswith(own) else gr.skip() for name in names]
        return [config.mode, *changed]

    outputs = [settings.mode, *settings.controls.values()]
    shown.select(use, None, outputs, queue=False, **QUIET)
