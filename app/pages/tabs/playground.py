"""The playground: a chat whose answers show where every token came from."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr
from gradio.events import Dependency

from app.pages.components.settings import SettingsPanel
from app.pages.components.view import QUIET, asking_view, told_runs, view
from app.runs.handlers import Handlers, notice
from core.errors import SpecDecodesError

# Puts the turns that the chat shows into the second of the inputs.
_WITH_TURNS = """(session, turns, ...rest) =>
  [session, window.specdecodes?.shownTurns() ?? turns, ...rest]"""


class Composer(NamedTuple):
    """Where a message is written, and what can be done with the chat."""

    text: gr.Textbox
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    clear: gr.Button
    copy: gr.Button


class Playground(NamedTuple):
    """What presets fill and send."""

    message: gr.Textbox
    send_after: Callable[[Dependency], Any]
    """Has a listener followed by a new chat, in which the message is sent."""


def create_playground_tab(
    handlers: Handlers, session: gr.State, settings: SettingsPanel, prompt: str
) -> Playground:
    """Builds the chat and the instruments, and connects them."""
    with gr.Column(scale=3, min_width=320, elem_id="chat-column"):
        chat = asking_view(handlers, "chat", label="Chat")
        composer = _create_composer(prompt)
    with gr.Column(scale=2, min_width=320, elem_id="instruments"):
        view("figures", label="Figures of the run")
        view("step_bars", label="Time of each step")
        view("playback", label="Walk through the steps")
        view("stage", label="Draft tree of the selected step")
        view("gallery", label="More figures")
        view("exports", label="Export of the run")

    inputs = [settings.system, settings.raw, *settings.inputs]
    # Which turns the page shows, each in which branch; its script fills it in when a message is sent.
    turns = gr.JSON(None, visible=False)

    def ask(
        session: Any, request: gr.Request, shown: Any, text: str, system: str, raw: Any, *given: Any
    ) -> Iterator[tuple[Any, Any]]:
        session.take(request)
        values, told = settings.values(given), _told_turns(shown)
        messages = _told(handlers.ask(session, text, system, values, raw=bool(raw), turns=told))
        for number, message in enumerate(messages):
            # The box is emptied once, so that the next message can be typed meanwhile.
            is_taken = number == 0 and not message.startswith('{"notice"')
            yield message, "" if is_taken else gr.skip()

    def ask_again(
        session: Any, request: gr.Request, shown: Any, system: str, raw: Any, *given: Any
    ) -> Iterator[str]:
        session.take(request)
        values, told = settings.values(given), _told_turns(shown)
        yield from _told(handlers.retry(session, system, values, raw=bool(raw), turns=told))

    def go_another_way(session: Any, request: gr.Request, event: gr.EventData) -> Iterator[str]:
        session.take(request)
        run, position, token_ids = (
            getattr(event, name, None) for name in ("run", "position", "token_ids")
        )
        yield from _told(handlers.fork(session, run, position, token_ids))

    def ask_example(
        session: Any, request: gr.Request, event: gr.EventData, system: str, raw: Any, *given: Any
    ) -> Iterator[str]:
        session.take(request)
        text, values = str(event.prompt), settings.values(given)
        yield from _told(handlers.ask(session, text, system, values, raw=bool(raw)))

    def resume(session: Any, request: gr.Request, event: gr.EventData) -> Iterator[str]:
        session.take(request)
        yield from handlers.resume(session, told_runs(event))

    def adopt(session: Any, request: gr.Request, event: gr.EventData) -> None:
        session.take(request)
        handlers.adopt(session, told_runs(event))

    sent: dict[str, Any] = {
        "fn": ask,
        "inputs": [session, turns, composer.text, *inputs],
        "outputs": [chat, composer.text],
        "concurrency_limit": None,
        "js": _WITH_TURNS,
        **QUIET,
    }
    gr.on([composer.text.submit, composer.send.click], **sent)
    chat.select(ask_example, [session, *inputs], chat, concurrency_limit=None, **QUIET)
    # A token that was chosen in the place of the answer's own.
    chat.edit(go_another_way, session, chat, concurrency_limit=None, **QUIET)
    # What the chat's script asks for with the runs that this tab of the browser remembers.
    chat.apply(resume, session, chat, concurrency_limit=None, **QUIET)
    # A kept run that became a turn. Not through the queue: Gradio's stream of messages closes behind
    # the last event, and one that is sent in that moment (the next question) is never answered.
    chat.input(adopt, session, None, queue=False, **QUIET)
    composer.retry.click(
        ask_again,
        [session, turns, *inputs],
        chat,
        concurrency_limit=None,
        js=_WITH_TURNS,
        **QUIET,
    )
    composer.stop.click(handlers.stop, session, None, queue=False, **QUIET)
    composer.clear.click(handlers.clear, session, chat, queue=False, **QUIET)
    composer.copy.click(None, js="() => window.specdecodes?.copyChat()", **QUIET)

    def send_after(listener: Dependency) -> Any:
        emptied = listener.then(handlers.clear, session, chat, queue=False, **QUIET)
        return emptied.then(**sent)

    return Playground(composer.text, send_after)


def _told_turns(shown: Any) -> list[Any] | None:
    """The ids of runs that the page's script told; None where none did."""
    return shown if isinstance(shown, list) else None


def _told(messages: Iterator[str]) -> Iterator[str]:
    """The messages, with what was refused as a notice."""
    try:
        yield from messages
    except SpecDecodesError as error:
        yield notice(error)


def _create_composer(prompt: str) -> Composer:
    with gr.Row(elem_id="composer"):
        text = gr.Textbox(
            prompt,
            placeholder="Ask something",
            label="Message",
            show_label=False,
            container=False,
            lines=1,
            max_lines=8,
            scale=1,
            autofocus=True,
            elem_id="message",
        )
        send = gr.Button("Send", variant="primary", elem_id="send", min_width=80, scale=0)
        stop = gr.Button("Stop", variant="stop", elem_id="stop", min_width=80, scale=0)
    with gr.Row(elem_id="chat-actions"):
        retry = gr.Button("Retry", size="sm", elem_id="retry", min_width=60, scale=0)
        clear = gr.Button("New chat", size="sm", elem_id="clear", min_width=60, scale=0)
        copy = gr.Button("Copy as text", size="sm", elem_id="copy", min_width=60, scale=0)
    return Composer(text, send, stop, retry, clear, copy)
