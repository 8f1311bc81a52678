"""Whether a tokenizer goes with a model: ordinary text must make no token that has no embedding."""

from typing import Any

from core.errors import ModelUnavailableError, shown


def check_vocabulary(name: str, tokenizer: Any, num_rows: int) -> None:
    """Raises ModelUnavailableError where tokens of ordinary text lie behind the embedding's rows.

    Added tokens may, such as one for padding that no weights were made for: a prompt that has one is
    refused when it is asked.
    """
    vocabulary = tokenizer.get_vocab()
    if max(vocabulary.values(), default=0) < num_rows:
        return
    added = tokenizer.added_tokens_decoder
    excess = {
        token_id: token
        for token, token_id in vocabulary.items()
        if token_id >= num_rows and token_id not in added
    }
    if excess:
        first = min(excess)
        raise ModelUnavailableError(
            f"the tokenizer of {name} has {len(excess)} tokens that its embedding of {num_rows} rows "
            f"lacks (the first is {shown(excess[first])}, id {first}); give the tokenizer and the "
            "weights of one model."
        )
