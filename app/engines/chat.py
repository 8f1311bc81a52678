"""What a model is asked."""

Message = dict[str, str]
Chat = list[Message] | str
"""A chat through the model's template, or a plain text to continue as it is."""


def single_chat(text: str, *, raw: bool) -> Chat:
    """A chat of one message, or with `raw` the text itself."""
    return text if raw else [{"role": "user", "content": text}]
