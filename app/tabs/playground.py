"""The playground: a chat whose answers show where every token came from."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr

from app.components.settings import create_settings
from app.components.view import view
from app.handlers import Handlers, notice
from app.session import ChatSession
from core.errors import SpecDecodesError

# Of every listener: no public endpoint, and no overlay over a page that shows its own progress.
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


class Composer(NamedTuple):
    """Where a message is written, and what can be done with the chat."""

    text: gr.Textbox
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    clear: gr.Button
    copy: gr.Button


def create_playground_tab(handlers: Handlers, target: str) -> None:
    """Builds the controls, the chat and the instruments, and connects them."""

    def since(request: str) -> str:  # Gradio marks it with an attribute, which a method refuses
        return handlers.since(request)

    session = gr.State(ChatSession, delete_callback=handlers.end_session)
    with gr.Row(elem_id="playground", equal_height=False):
        with gr.Column(scale=1, min_width=0, elem_id="settings"):
            settings = create_settings(handlers, target)
        with gr.Column(scale=3, min_width=320, elem_id="chat-column"):
            chat = view("chat", label="Chat", server_functions=[since])
            composer = _create_composer()
        with gr.Column(scale=2, min_width=320, elem_id="instruments"):
            view("figures", label="Figures of the run")
            view("step_bars", label="Time of each step")
            view("tree_view", label="Draft tree of the selected step")
            view("exports", label="Export of the run")

    names = ["mode", *settings.controls]
    inputs = [settings.system, settings.mode, *settings.controls.values()]

    def ask(session: Any, text: str, system: str, *given: Any) -> Iterator[tuple[Any, Any]]:
        values = dict(zip(names, given, strict=True))
        messages = _told(handlers.ask(session, text, system, values))
        for number, message in enumerate(messages):
            # The box is emptied once, so that the next message can be typed meanwhile.
            is_taken = number == 0 and not message.startswith('{"notice"')
            yield message, "" if is_taken else gr.skip()

    def ask_again(session: Any, system: str, *given: Any) -> Iterator[str]:
        values = dict(zip(names, given, strict=True))
        yield from _told(handlers.retry(session, system, values))

    gr.on(
        [composer.text.submit, composer.send.click],
        ask,
        [session, composer.text, *inputs],
        [chat, composer.text],
        concurrency_limit=None,
        **_QUIET,
    )
    composer.retry.click(ask_again, [session, *inputs], chat, concurrency_limit=None, **_QUIET)
    composer.stop.click(handlers.stop, session, None, queue=False, **_QUIET)
    composer.clear.click(handlers.clear, session, chat, queue=False, **_QUIET)
    composer.copy.click(None, js="() => window.specdecodes?.copyChat()", **_QUIET)


def _told(messages: Iterator[str]) -> Iterator[str]:
    """The messages, with what was refused as a notice."""
    try:
        yield from messages
    except SpecDecodesError as error:
        yield notice(error)


def _create_composer() -> Composer:
    with gr.Row(elem_id="composer"):
        text = gr.Textbox(
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
        clear = gr.Button("Clear", size="sm", elem_id="clear", min_width=60, scale=0)
        copy = gr.Button("Copy as text", size="sm", elem_id="copy", min_width=60, scale=0)
    return Composer(text, send, stop, retry, clear, copy)
