"""Chats as text: a model's Jinja template over messages, as transformers renders it.

Templates are written for transformers, and differ in what they want: contents as strings or as
lists of parts, names that only some callers give. What a template wants is found out by rendering
the chat with stand-ins for its contents, and looking for them in what comes out.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from jinja2 import ChainableUndefined, Template, TemplateError, Undefined, UndefinedError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Role and content.
Message = Mapping[str, str]

# Named templates that want what a plain chat has not.
_FOR_OTHERS = ("tool_use", "rag")
# Templates add these to strings; a tokenizer without one of them has nothing to add.
_NO_TOKENS = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "")


# What comes of a name that nobody gave.
_MISSING_NAMES = (UndefinedError, TypeError)


class TemplateFailedError(Exception):
    """A template raised; the message quotes it in one line."""


class TemplateRefusedError(TemplateFailedError):
    """A template said by itself that it takes no such chat."""


class TextLostError(Exception):
    """A template leaves out the text of a message; says whose."""


class Style(NamedTuple):
    """How a template wants a chat."""

    as_parts: bool
    """Contents are lists of parts and not strings."""
    is_lenient: bool
    """Names that nobody gave are empty, whatever is done with them."""
    frame: str
    """What the template writes, with a zero byte for each content."""


def chosen_template(templates: Any) -> str | None:
    """The template for plain chats of one, or of several by their names; None where there is none.

    `templates` is what a tokenizer has: a text, texts by name, or a list of objects of both.
    """
    if isinstance(templates, str):
        templates = {"default": templates}
    elif isinstance(templates, list):
        templates = {item["name"]: item["template"] for item in templates}
    texts = {name: text for name, text in (templates or {}).items() if text}
    for name in ("default", *texts):
        if name in texts and (name not in _FOR_OTHERS or len(texts) == 1):
            return str(texts[name])
    return None


class ChatTemplate:
    """One template, with the special tokens that it may write by their transformers names."""

    def __init__(self, source: str, special_tokens: Mapping[str, Any]):
        self._source = source
        self._special = {**_NO_TOKENS, **special_tokens}

    def style(self, messages: Sequence[Message], now: datetime) -> Style:
        """How the template wants these messages. What their texts are does not matter.

        Raises TemplateFailedError, and TextLostError where a text comes out in no style.
        """
        stand_ins = {
            # No template changes it and none contains it.
            index: f"\u2060text {index}\u2060"
            for index, message in enumerate(messages)
            if message["content"].strip()
        }
        filled = [
            {"role": message["role"], "content": stand_ins.get(index, "")}
            for index, message in enumerate(messages)
        ]
        problem: Exception | None = None
        for as_parts in (False, True):
            for is_lenient in (False, True):
                style = Style(as_parts, is_lenient, "")
                try:
                    frame = self.render(filled, style, now)
                except TemplateFailedError as error:
                    problem = problem or error
                    if isinstance(error.__cause__, _MISSING_NAMES):
                        continue
                    break
                lost = [index for index, text in stand_ins.items() if text not in frame]
                if not lost:
                    for text in stand_ins.values():
                        frame = frame.replace(text, "\0")
                    return style._replace(frame=frame)
                problem = problem or TextLostError(messages[lost[0]]["role"])
                break
        assert problem is not None, "every style has one"
        raise problem

    def render(
        self, messages: Sequence[Message], style: Style, now: datetime, *, opens: bool = True
    ) -> str:
        """The chat's text, which `opens` leaves open for an answer; raises TemplateFailedError."""
        chat = [
            {
                "role": message["role"],
                "content": [{"type": "text", "text": message["content"]}]
                if style.as_parts
                else message["content"],
            }
            for message in messages
        ]
        nothing: list[Any] | None = [] if style.is_lenient else None
        try:
            return _compiled(self._source, style.is_lenient).render(
                messages=chat,
                tools=nothing,
                documents=nothing,
                add_generation_prompt=opens,
                strftime_now=now.strftime,
                **self._special,
            )
        except _RaisedError as error:
            raise TemplateRefusedError(_one_line(error)) from error
        except Exception as error:  # templates raise whatever comes
            raise TemplateFailedError(f"{type(error).__name__}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


class _RaisedError(TemplateError):
    """A template called raise_exception."""


class _Empty(ChainableUndefined):
    """A name that nobody gave: empty as a list, a text, and the result of a function."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self

    def __add__(self, other: Any) -> Any:
        return other

    __radd__ = __add__


class _Generation(Extension):
    """The tags by which transformers finds answers for training; they write nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


@cache
def _compiled(source: str, is_lenient: bool) -> Template:
    """As transformers compiles it, for templates are written for that."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols, _Generation],
        undefined=_Empty if is_lenient else Undefined,
    )

    def raise_exception(message: Any = "") -> None:
        raise _RaisedError(message)

    environment.filters["tojson"] = lambda value, **how: json.dumps(
        value, **{"ensure_ascii": False, **how}
    )
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)
