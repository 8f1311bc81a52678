"""Batch: several prompts answered side by side, a row each."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.pages.components.settings import SettingsPanel
from app.pages.components.view import QUIET, asking_view, told_runs
from app.runs.batch import MOST_ROWS, batch, resume_batch
from app.runs.handlers import Handlers, notice
from app.runs.run_form import config_from_values
from app.runs.session import ChatSession
from core.errors import SpecDecodesError

_PROMPTS = """Explain in two sentences why the sky is blue.
Write a short poem about a lighthouse.
List five fruits and their colours.
Say hello in French, German and Spanish."""


def create_batch_tab(handlers: Handlers, session: gr.State, settings: SettingsPanel) -> None:
    """Builds the prompts, the size, and the rows."""
    with gr.Row(elem_id="batch-form"):
        prompts = gr.Textbox(
            _PROMPTS,
            label="Prompts",
            info="A line each",
            lines=4,
            max_lines=8,
            scale=1,
            elem_id="batch-prompts",
        )
        size = gr.Number(
            4,
            label="Side by side",
            info=f"1 to {MOST_ROWS}",
            precision=0,
            min_width=90,
            scale=0,
            elem_id="batch-size",
        )
    with gr.Row(elem_id="batch-actions"):
        run = gr.Button("Run batch", variant="primary", elem_id="batch-run", scale=0)
        stop = gr.Button("Stop", variant="stop", elem_id="batch-stop", scale=0)

    rows = asking_view(handlers, "batch_view", label="Rows of the batch")

    def run_batch(
        session: Any, request: gr.Request, text: str, count: Any, raw: Any, *given: Any
    ) -> Iterator[str]:
        session.take(request)
        try:
            config = config_from_values(settings.values(given))
            number = count if isinstance(count, int) else 0
            yield from batch(handlers, session, text, number, config, raw=bool(raw))
        except SpecDecodesError as error:
            yield notice(error)

    inputs = [session, prompts, size, settings.raw, *settings.inputs]
    run.click(run_batch, inputs, rows, concurrency_limit=None, **QUIET)

    def resume(session: Any, request: gr.Request, event: gr.EventData) -> Iterator[str]:
        session.take(request)
        yield from resume_batch(handlers, session, told_runs(event))

    # What the view's script asks for with the runs that this tab of the browser remembers.
    rows.apply(resume, session, rows, concurrency_limit=None, **QUIET)
    stop.click(ChatSession.stop_batch, session, None, queue=False, **QUIET)
