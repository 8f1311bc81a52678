"""Lab: prompts are measured once under several modes, and every "what if" is answered from that."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.pages.components.settings import SettingsPanel
from app.pages.components.view import QUIET, told_runs, view
from app.runs.handlers import Handlers, notice
from app.runs.kept_lab import kept_lab
from app.runs.lab_run import MOST_OWN_QUESTIONS, LabRun, asked_of, profiled_modes
from app.runs.run_form import values_from_config
from app.runs.session import ChatSession
from core.config import RunConfig
from core.errors import SpecDecodesError

_PROMPT = "Write a short poem about rain, then say its first line again."
# What needs nothing made ready first for the default target.
_USUAL = ("sd-eagle", "ngram", "hybrid")


def create_lab_tab(handlers: Handlers, session: gr.State, settings: SettingsPanel) -> None:
    """Builds the prompts, the drafters, and what is told of them."""
    with gr.Row(elem_id="lab-form"):
        prompts = gr.Textbox(
            _PROMPT,
            label="Prompts",
            info="A line each",
            lines=3,
            max_lines=8,
            scale=1,
            elem_id="lab-prompts",
        )
        own = gr.Number(
            0,
            label="Own questions",
            info=f"0 to {MOST_OWN_QUESTIONS}, a category each",
            precision=0,
            min_width=150,
            scale=0,
            elem_id="lab-own",
        )
    modes = gr.CheckboxGroup(
        list(profiled_modes()),
        value=[name for name in _USUAL if name in profiled_modes()],
        label="Drafters",
        info="Measured with their settings on the left, which are the largest that are looked at",
        elem_id="lab-modes",
    )
    with gr.Row(elem_id="lab-actions"):
        run = gr.Button("Measure", variant="primary", elem_id="lab-run", scale=0)
        stop = gr.Button("Stop", variant="stop", elem_id="lab-stop", scale=0)

    shown = view("lab_view", label="What the profiles predict")

    def run_lab(
        session: Any,
        request: gr.Request,
        text: str,
        num_own: Any,
        names: Any,
        raw: Any,
        *given: Any,
    ) -> Iterator[str]:
        session.take(request)
        try:
            if session.lab is not None and not session.lab.is_over:
                raise SpecDecodesError("Profiles are still being made; stop or wait for their end.")
            lab = session.lab = LabRun(
                handlers,
                names,
                asked_of(text, num_own),
                settings.values(given),
                visitor=session.visitor,
                owner=session.owner,
                raw=bool(raw),
            )
        except SpecDecodesError as error:
            yield notice(error)
            return
        handlers.labs.add(lab)
        yield from lab.follow()

    inputs = [session, prompts, own, modes, settings.raw, *settings.inputs]
    run.click(run_lab, inputs, shown, concurrency_limit=None, **QUIET)

    def resume(session: Any, request: gr.Request, event: gr.EventData) -> Iterator[str]:
        session.take(request)
        lab_id, *run_ids = map(str, told_runs(event) or [""])
        lab = handlers.labs.find(session.visitor, lab_id)
        if session.lab is not None or not (lab or run_ids):
            return
        if lab is None:  # the server was started anew, or others have taken its place
            try:
                lab = kept_lab(handlers.finder, session.visitor, run_ids)
            except SpecDecodesError as error:
                yield notice(error)
                return
            handlers.labs.add(lab)
        session.lab = lab
        yield from lab.follow()

    # What the view's script asks for with the lab that this tab of the browser remembers, and its runs.
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
