"""Token ids of prompts: a chat through the model's template, or text as it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.errors import InvalidSettingError, shown
from core.models.control_tokens import ControlTokenError

if TYPE_CHECKING:
    from core.loading.loading import LoadedModel
    from core.models.chat_template import Message

_CONTINUE = "continue a plain text (--raw; on the page: Raw text)"
_TEXTS = {"system": "the system prompt", "user": "a question", "assistant": "an answer"}


def chat_token_ids(model: "LoadedModel", messages: Sequence["Message"]) -> list[int]:
    """The chat template over messages of role and content, open for an answer.

    Control tokens in a content are text. Raises InvalidSettingError for a model without a template,
    for a chat that it refuses or cannot write, and for text that it would leave out.
    """
    name = model.identity.name
    if model.chat.template is None:
        raise InvalidSettingError(
            f"{name} has no chat template; give a chat model, or {_CONTINUE}."
        )
    with told(name):
        return model.chat.chat_token_ids(messages)


def text_token_ids(model: "LoadedModel", text: str) -> list[int]:
    """The text as it stands in a chat: its control tokens are text, and nothing stands round it.

    Raises InvalidSettingError where they cannot be.
    """
    with told(model.identity.name):
        return model.chat.text_token_ids(text)


def raw_token_ids(model: "LoadedModel", text: str) -> list[int]:
    """The text's tokens, control tokens among them, with those that the tokenizer puts round any
    text."""
    ids: list[int] = model.tokenizer(text).input_ids
    return ids


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turns what a model's template and tokenizer cannot do into InvalidSettingError."""
    from core.models.chat_template import (
        TemplateFailedError,
        TemplateRefusedError,
        TextLostError,
    )

    try:
        yield
    except TemplateRefusedError as error:
        raise InvalidSettingError(
            f"the chat template of {name} refuses this chat ({error}); leave the system prompt "
            "empty or start a new chat."
        ) from error
    except TemplateFailedError as error:
        raise InvalidSettingError(
            f"the chat template of {name} fails ({error}); give another model, or {_CONTINUE}."
        ) from error
    except TextLostError as error:
        lost = _TEXTS.get(str(error), "a message")
        raise InvalidSettingError(
            f"the chat template of {name} leaves {lost} out; leave the system prompt empty, start a "
            f"new chat, or {_CONTINUE}."
        ) from error
    except ControlTokenError as error:
        raise InvalidSettingError(
            f"the text holds {shown(str(error))}, which the tokenizer of {name} can only read as a "
            "control token; leave it out."
        ) from error
