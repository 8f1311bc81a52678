"""Whether a draft model reads and writes the tokens of its target, and by which key tokens are known."""

import hashlib
from typing import Any

# Spaces, digits, accents, scripts, an emoji of several code points, code: where tokenizers differ.
_SAMPLES = (
    "Hello, world!  Two spaces,\ttab\nand 1234567890 digits.",
    "naïve façade — “quotes” … Ελληνικά русский 中文 日本語 한국어 العربية",
    "👩\u200d👩\u200d👧 def f(x):\n    return x**2  # comment\n\n\n",
)


def tokenizer_key(tokenizer: Any) -> str:
    """Equal for tokenizers of the same tokens with the same ids."""
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: (int(item[1]), item[0]))
    digest = hashlib.sha256()
    for token, token_id in tokens:
        digest.update(f"{token_id} {token!r}\n".encode())
    return digest.hexdigest()


def tokenizer_difference(target: Any, draft: Any) -> str | None:
    """The first difference in words; None where there is none."""
    target_vocab, draft_vocab = target.get_vocab(), draft.get_vocab()
    for token, token_id in sorted(target_vocab.items(), key=lambda item: int(item[1])):
        other = draft_vocab.get(token)
        if other is None:
            return f"it has no token {token!r} (id {token_id})"
        if other != token_id:
            return f"its token {token!r} has the id {other}, not {token_id}"
    if len(draft_vocab) != len(target_vocab):
        return f"it has {len(draft_vocab)} tokens, not {len(target_vocab)}"
    for text in _SAMPLES:
        target_ids, draft_ids = target(text).input_ids, draft(text).input_ids
        if target_ids != draft_ids:
            return f"it splits {text[:20]!r} into other tokens"
        if draft.decode(target_ids) != target.decode(target_ids):
            return f"it writes the tokens of {text[:20]!r} as another text"
    return None
