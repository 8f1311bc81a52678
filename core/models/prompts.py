"""Token ids of prompts: a chat through the model's template, or text as it is."""

from core.errors import InvalidSettingError
from core.models.loading import LoadedModel


def chat_token_ids(model: LoadedModel, messages: list[dict[str, str]]) -> list[int]:
    """The chat template over messages of role and content, open for an answer.

    Raises InvalidSettingError for a model without a template and for a chat that it refuses.
    """
    from jinja2 import TemplateError

    if not model.tokenizer.chat_template:
        raise InvalidSettingError(
            f"{model.identity.name} has no chat template; give a chat model, or continue a plain "
            "text (--raw)."
        )
    try:
        ids: list[int] = model.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
    except TemplateError as error:
        raise InvalidSettingError(
            f"the chat template of {model.identity.name} refuses this chat ({error}); leave the "
            "system prompt empty or start a new chat."
        ) from error
    return ids


def raw_token_ids(model: LoadedModel, text: str) -> list[int]:
    """The text's tokens, with those that the tokenizer puts before any text."""
    ids: list[int] = model.tokenizer(text).input_ids
    return ids
