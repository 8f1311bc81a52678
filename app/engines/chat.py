"""What a model is asked."""

from core.trace.fork import Fork

Message = dict[str, str]
Chat = list[Message] | str | list[int] | Fork
"""A chat through the model's template, a plain text or token ids to continue as they are, or a branch of
another run."""


def single_chat(text: str, *, raw: bool) -> Chat:
    """A chat of one message, or with `raw` the text itself."""
    return text if raw else [{"role": "user", "content": text}]
