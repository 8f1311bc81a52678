"""Public endpoints, for `gradio_client`, `curl` and, with `--mcp`, as tools of a model."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from app.engines.chat import Chat, single_chat
from app.runs.branches import branch_of
from app.runs.comparison_run import ComparisonRun
from app.runs.handlers import Handlers, follow
from app.runs.texts import checked_text
from app.runs.visitors import owner_of, visitor_of
from core.config import RunConfig
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.modes.server import MODE as SERVER_MODE
from core.modes.server import is_address


def create_endpoints(handlers: Handlers, target: str) -> None:
    """Registers `/generate`, `/fork`, `/compare`, `/list_runs` and `/export`.

    `target` is the model of runs whose settings name none.
    """

    def generate(
        prompt: str, request: gr.Request, settings: str = "{}"
    ) -> Iterator[dict[str, Any]]:
        """Generate an answer to a prompt with speculative decoding.

        Args:
            prompt: The user's message; the model's chat template is put around it.
            settings: A JSON object with settings of the run, such as
                {"mode": "ngram", "max_new_tokens": 64, "sampling": {"temperature": 0.7}}; with
                "raw": true the prompt is continued as it is, without the chat template. Without
                "target" the page's own model answers.

        Returns:
            The run's id, the text so far, its status and its statistics, growing until the end.
        """
        with _told():
            prompt = checked_text(prompt, "prompt")
            config, raw = _asked(settings, target)
            owner = owner_of(request)
            handlers.check(config, owner)
        yield from followed(prompt, single_chat(prompt, raw=raw), config, owner)

    def fork(
        run_id: str, position: int, token_ids: list[int], request: gr.Request
    ) -> Iterator[dict[str, Any]]:
        """Go on from another token of an answer, as its branch and under its settings.

        Args:
            run_id: The id that generate, fork or list_runs gave; the run has ended.
            position: The place in the answer, from 0, of the first token that is another.
            token_ids: The tokens that stand there instead, usually one; export tells the ids.

        Returns:
            The branch's id, its whole text so far, its status and its statistics, growing until the
            end.
        """
        with _told():
            visitor, owner = visitor_of(request), owner_of(request)
            parent = handlers.finder.record(visitor, checked_text(run_id, "run_id"))
            branch = branch_of(parent, position, token_ids)
            handlers.check(branch.config, owner)
        yield from followed(branch.fork.prompt_text, branch.fork, branch.config, owner)

    def followed(
        text: str, chat: Chat, config: RunConfig, owner: str | None
    ) -> Iterator[dict[str, Any]]:
        record = handlers.store.create(text, config.mode)
        handlers.start([record], [chat], [config], None, owner, memory=None)
        try:
            for _ in follow(record):
                yield {
                    "run_id": record.run_id,
                    "text": record.answer,
                    "status": record.status_text,
                    "stats": record.stats,
                }
        finally:
            record.stop.set()  # a program that has gone does not come back for it
        if record.failure:
            raise _error(record.failure)

    def compare(
        prompt: str, settings: list[str], request: gr.Request, repeats: int = 1
    ) -> dict[str, Any]:
        """Compare decoding modes on one prompt with plain decoding, which is always measured.

        Args:
            prompt: The user's message.
            settings: One to three JSON objects with settings of a run, as for generate.
            repeats: How often each is measured, 1 to 5.

        Returns:
            A table of speeds and acceptance, and for each run whether its text is plain decoding's.
        """
        with _told():
            if not isinstance(settings, list):
                raise InvalidSettingError("The settings are no list; give a list of JSON objects.")
            asked = [_asked(text, target) for text in settings]
            if len({raw for _, raw in asked}) > 1:
                raise InvalidSettingError("The settings differ in raw; give the same for all.")
            comparison = ComparisonRun(
                handlers,
                prompt,
                [config for config, _ in asked],
                repeats,
                visitor=None,
                owner=owner_of(request),
                memory=None,
                raw=any(raw for _, raw in asked),
            )
            messages = list(comparison.follow())
        result = json.loads(messages[-1])["result"]
        return {"rows": result["rows"], "verdicts": result["verdicts"]}

    def list_runs(request: gr.Request) -> list[dict[str, Any]]:
        """List the kept runs of the visitor whose cookie is sent, newest first.

        Returns:
            For each run its id, name, mode, target, outcome, tokens, speed and acceptance.
        """
        visitor = visitor_of(request)
        return [vars(run) for run in handlers.archive.runs(visitor)] if visitor else []

    def export(run_id: str, request: gr.Request) -> str:
        """Export the whole trace of a run as JSON lines.

        Args:
            run_id: The id that generate or list_runs gave.

        Returns:
            The trace file's text: a header, then one event a line.
        """
        from core.trace.file import event_line, header_line

        with _told():
            found = handlers.finder.find(visitor_of(request), checked_text(run_id, "run_id"))
            if found is None:
                raise InvalidSettingError(
                    "There is no such run; give an id of list_runs or generate."
                )
        return "\n".join([header_line(), *map(event_line, found.trace.events)]) + "\n"

    gr.api(generate, api_name="generate", concurrency_limit=None)
    gr.api(fork, api_name="fork", concurrency_limit=None)
    gr.api(compare, api_name="compare", concurrency_limit=None)
    gr.api(list_runs, api_name="list_runs")
    gr.api(export, api_name="export")


def _asked(settings: str, target: str) -> tuple[RunConfig, bool]:
    """The settings of a run, and whether its prompt is raw; raises InvalidSettingError."""
    try:
        values = json.loads(settings or "{}")
        if not isinstance(values, dict):
            raise ValueError("it is no object")
        raw = values.pop("raw", False)
        if not isinstance(raw, bool):
            raise ValueError(f"raw is {shown(raw)}, which is neither true nor false")
        mode = SERVER_MODE if is_address(str(values.get("target", target))) else "ngram"
        return RunConfig.from_dict({"mode": mode, "target": target, **values}), raw
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error).rstrip(".")
        raise InvalidSettingError(
            f"The settings cannot be used ({reason}); give a JSON object."
        ) from error


@contextmanager
def _told() -> Iterator[None]:
    """What is refused becomes an answer in words, without a stack trace in the server's log."""
    try:
        yield
    except SpecDecodesError as error:
        raise _error(str(error)) from error


def _error(message: str) -> gr.Error:
    return gr.Error(message, print_exception=False)
