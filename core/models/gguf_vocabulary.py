"""The tokens of a GGUF file: their texts, what kind each is, and which of them end an answer.

Files say little of their special tokens; llama.cpp knows more of them by their texts
(`llama_vocab::impl::load` in src/llama-vocab.cpp), and so does this.
"""

from enum import IntEnum
from typing import Any, NamedTuple

_PREFIX = "tokenizer.ggml."


class Kind(IntEnum):
    """What a token is, by the numbers of GGUF."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# Kinds that came later are ordinary tokens to who does not know them.
_KINDS = {int(kind): kind for kind in Kind}
# Found as a whole before a text is split. The first two are written by templates only.
WHOLE_KINDS = (Kind.CONTROL, Kind.UNKNOWN, Kind.USER_DEFINED)

_ENDS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
    "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
    "<｜end▁of▁sentence｜>", "[e~[",
)  # fmt: skip
# Tokens for code with a gap, by the key that names them; the texts where it is missing.
_GAPS = {
    ("fim_pre", "prefix"): (
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
        "<|code_prefix|>", "<|prefix|>",
    ),
    ("fim_suf", "suffix"): (
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
        "<|code_suffix|>", "<|suffix|>",
    ),
    ("fim_mid", "middle"): (
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
        "<|code_middle|>", "<|middle|>",
    ),
}  # fmt: skip
# The same, of which each ends an answer as well.
_ENDING_GAPS = {
    ("fim_pad",): ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    ("fim_rep",): (
        "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>",
    ),
    ("fim_sep",): ("<|file_sep|>",),
}  # fmt: skip


class Vocabulary(NamedTuple):
    """All tokens of a file, by their ids."""

    tokens: list[str]
    ids: dict[str, int]
    """The ids by the texts."""
    kinds: list[Kind]
    start: int | None
    end: int | None
    unknown: int | None
    padding: int | None
    end_token_ids: frozenset[int]
    """All that end an answer."""

    def texts_of(self, *kinds: Kind) -> list[str]:
        """The texts of all tokens of these kinds, in the order of their ids."""
        return [token for token, kind in zip(self.tokens, self.kinds, strict=True) if kind in kinds]


def read_vocabulary(
    metadata: dict[str, Any], *, start: int | None = None, end: int | None = None
) -> Vocabulary:
    """`start` and `end` stand where the file names none.

    Raises ValueError with a reason for what cannot be a vocabulary.
    """
    # The name is llama.cpp's for a token without a text.
    tokens = [
        token or f"[EMPTY_{index}]"
        for index, token in enumerate(list_of(str, metadata, f"{_PREFIX}tokens"))
    ]
    ids = {token: index for index, token in enumerate(tokens)}
    if len(ids) < len(tokens):
        double = next(token for index, token in enumerate(tokens) if ids[token] != index)
        raise ValueError(f"it has the token {double[:40]!r} twice")
    kinds = [Kind.NORMAL] * len(tokens)
    if f"{_PREFIX}token_type" in metadata:
        numbers = list_of(int, metadata, f"{_PREFIX}token_type", len(tokens))
        kinds = [_KINDS.get(number, Kind.NORMAL) for number in numbers]
    start = _needed_id(metadata, "bos", len(tokens), start)
    end = _needed_id(metadata, "eos", len(tokens), end)
    others = [_needed_id(metadata, name, len(tokens), None) for name in ("eot", "eom")]
    ends = {found for found in (end, *others) if found is not None}
    for names, texts in (_GAPS | _ENDING_GAPS).items():
        found = _id_or_none(metadata, names, len(tokens))
        if found is None and (text := next(filter(ids.__contains__, texts), None)):
            found = ids[text]
            kinds[found] = Kind.CONTROL
        if found is not None and names in _ENDING_GAPS:
            ends.add(found)
    for text in filter(ids.__contains__, _ENDS):
        if text != "</s>" or kinds[ids[text]] != Kind.NORMAL:  # that is HTML as well
            ends.add(ids[text])
            kinds[ids[text]] = Kind.CONTROL
    _take_back(ends, ids, kinds)
    # A template writes them, so that they are found as a whole whatever the file calls them.
    for found in (start, end):
        if found is not None and kinds[found] not in WHOLE_KINDS:
            kinds[found] = Kind.CONTROL
    return Vocabulary(
        tokens,
        ids,
        kinds,
        start,
        end,
        _id_or_none(metadata, ("unknown",), len(tokens)),
        _id_or_none(metadata, ("padding",), len(tokens)),
        frozenset(ends),
    )


def list_of(kind: type, metadata: dict[str, Any], key: str, least: int = 1) -> list[Any]:
    """A list of the header; raises ValueError where there is none of such values and that length."""
    values = metadata.get(key)
    if not isinstance(values, list) or len(values) < least or type(values[0]) is not kind:
        raise ValueError(f"it has no {key} of {least} or more entries")
    return values


def _needed_id(
    metadata: dict[str, Any], name: str, num_tokens: int, default: int | None
) -> int | None:
    """A token that must be one where the file names it."""
    key = f"{_PREFIX}{name}_token_id"
    value = metadata.get(key, default)
    if value is not None and not (type(value) is int and 0 <= value < num_tokens):
        raise ValueError(f"its {key} is {str(value)[:20]} and it has {num_tokens} tokens")
    return value


def _id_or_none(metadata: dict[str, Any], names: tuple[str, ...], num_tokens: int) -> int | None:
    """A token that is of no use here beside others; files name some that they do not have."""
    for name in names:
        value = metadata.get(f"{_PREFIX}{name}_token_id")
        if type(value) is int and 0 <= value < num_tokens:
            return int(value)
    return None


def _take_back(ends: set[int], ids: dict[str, int], kinds: list[Kind]) -> None:
    """Texts that end answers elsewhere and are something else in two families."""
    texts = {text for text in _ENDS if ids.get(text) in ends}
    is_called = bool(texts & {"<|call|>", "<|calls|>"})
    if is_called and texts & {"<|return|>", "<|flush|>"} and "<|end|>" in texts:
        ends.discard(ids["<|end|>"])
    if "<|tool_response>" in texts and "</s>" in texts:
        ends.discard(ids["</s>"])
        kinds[ids["</s>"]] = Kind.NORMAL
