"""What a model is asked."""

Message = dict[str, str]
Chat = list[Message] | str | list[int]
"""A chat through the model's template, or a plain text or token ids to continue as they are."""


def single_chat(text: str, *, raw: bool) -> Chat:
    """A chat of one message, or with `raw` the text itself."""
    return text if raw else [{"role": "user", "content": text}]
