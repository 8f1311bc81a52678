"""Compare: the same prompt under several settings, always beside plain decoding."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component

from app.messages import ComparisonBegun, ComparisonEntries, ModeFacts
from app.pages.components.settings import SettingsPanel
from app.pages.components.view import QUIET, told_runs, view
from app.runs.comparison_run import MOST_REPEATS, ComparisonRun, ComparisonRuns, described
from app.runs.comparison_sets import chosen_of
from app.runs.handlers import Handlers, notice
from app.runs.run_form import config_from_values
from app.runs.session import ChatSession
from core.config import RunConfig
from core.errors import SpecDecodesError
from core.runtime.strict_json import dumps
from presets.sets import SETS, find_set

_PROMPT = "Explain in a few sentences why the sky is blue."


class CompareTab(NamedTuple):
    """What presets fill."""

    prompt: gr.Textbox
    stage: gr.HTML
    """Takes `entries_message`."""


def create_compare_tab(
    handlers: Handlers, session: gr.State, settings: SettingsPanel
) -> CompareTab:
    """Builds the prompt, the list of entries and their results."""
    with gr.Row(elem_id="comparison-form"):
        prompt = gr.Textbox(
            _PROMPT, label="Prompt", lines=2, max_lines=6, scale=1, elem_id="comparison-prompt"
        )
        repeats = gr.Number(
            1,
            label="Repeats",
            info=f"1 to {MOST_REPEATS}",
            precision=0,
            min_width=90,
            scale=0,
            elem_id="comparison-repeats",
        )
    with gr.Row(elem_id="comparison-actions"):
        add = gr.Button("Add current settings", elem_id="comparison-add", scale=0)
        reset = gr.Button("Empty the list", elem_id="comparison-reset", scale=0)
        run = gr.Button("Compare", variant="primary", elem_id="comparison-run", scale=0)
        stop = gr.Button("Stop", variant="stop", elem_id="comparison-stop", scale=0)
    stage = view("compare_view", label="Comparison", value=entries_message([]))
    _wire_list(handlers, session, settings, stage, add, reset)
    _wire_runs(handlers, session, stage, run, [prompt, repeats, settings.raw])
    stop.click(ChatSession.stop_comparison, session, None, queue=False, **QUIET)
    return CompareTab(prompt, stage)


def _wire_list(
    handlers: Handlers,
    session: gr.State,
    settings: SettingsPanel,
    stage: gr.HTML,
    add: gr.Button,
    reset: gr.Button,
) -> None:
    """Who takes part: the settings at the left, sets, or nobody."""

    def add_current(session: Any, *given: Any) -> str:
        try:
            config = config_from_values(settings.values(given))
        except SpecDecodesError as error:
            return notice(error)
        if config not in session.entries:
            session.entries.append(config)
        return entries_message(session.entries)

    # The event stands first: Gradio puts it at the place of its parameter among the values.
    def choose_set(event: gr.EventData, session: Any, *given: Any) -> str:
        try:
            chosen = chosen_of(find_set(str(event.set)), settings.values(given), handlers.pool)
        except SpecDecodesError as error:
            return notice(error)
        session.entries[:] = chosen.entries
        return entries_message(session.entries, chosen.left_out)

    def empty(session: Any) -> str:
        session.entries.clear()
        return entries_message(session.entries)

    inputs = [session, *settings.inputs]
    add.click(add_current, inputs, stage, queue=False, **QUIET)
    # A set that is chosen in the view.
    stage.select(choose_set, inputs, stage, queue=False, **QUIET)
    reset.click(empty, session, stage, queue=False, **QUIET)


def _wire_runs(
    handlers: Handlers,
    session: gr.State,
    stage: gr.HTML,
    run: gr.Button,
    inputs: list[Component],
) -> None:
    """A comparison, and going on with that of a page loaded anew; `inputs` are prompt, repeats, raw."""
    comparisons = ComparisonRuns()

    def followed(session: Any, comparison: ComparisonRun) -> Iterator[str]:
        session.comparison = comparison
        begun: ComparisonBegun = {"comparison": comparison.comparison_id}
        yield dumps(begun)
        try:
            yield from comparison.follow()
        except SpecDecodesError as error:
            yield notice(error)

    def run_comparison(
        session: Any, request: gr.Request, prompt: str, repeats: Any, raw: Any
    ) -> Iterator[str]:
        session.take(request)
        try:
            if session.comparison is not None and not session.comparison.is_over:
                raise SpecDecodesError(
                    "A comparison is still running; stop it or wait for its end."
                )
            entries = session.entries
            comparison = ComparisonRun(
                handlers,
                prompt,
                entries,
                repeats if isinstance(repeats, int) else 0,
                visitor=session.visitor,
                owner=session.owner,
                memory=session.memory_of(entries[0].target) if entries else None,
                raw=bool(raw),
            )
        except SpecDecodesError as error:
            yield notice(error)
            return
        comparisons.add(comparison)
        yield from followed(session, comparison)

    def resume(session: Any, request: gr.Request, event: gr.EventData) -> Iterator[str]:
        session.take(request)
        found = [comparisons.find(session.visitor, str(name)) for name in told_runs(event)]
        if found and found[-1] is not None and session.comparison is None:
            session.entries[:] = found[-1].entries
            yield entries_message(session.entries)
            yield from followed(session, found[-1])

    run.click(run_comparison, [session, *inputs], stage, concurrency_limit=None, **QUIET)
    # What the view's script asks for with the comparison that this tab of the browser remembers.
    stage.apply(resume, session, stage, concurrency_limit=None, **QUIET)


def entries_message(entries: list[RunConfig], left_out: Sequence[ModeFacts] = ()) -> str:
    """The list as the page shows it."""
    message: ComparisonEntries = {
        "entries": [described(config) for config in entries],
        "left_out": list(left_out),
        "sets": [{"name": one.name, "title": one.title, "watch": one.watch} for one in SETS],
    }
    return dumps(message)
