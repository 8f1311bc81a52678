"""The tokenizer that a GGUF file describes, made to give the ids that llama.cpp gives.

transformers makes one as well, which follows the architecture and not what the file says.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.models.chat_template import chosen_template
from core.models.detokenizer import bytes_by_character
from core.models.gguf_splitting import SPLITTINGS, Splitting
from core.models.gguf_vocabulary import (
    WHOLE_KINDS,
    Kind,
    Vocabulary,
    list_of,
    read_vocabulary,
)
from core.runtime.strict_json import dumps

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MODEL, _PRE = "tokenizer.ggml.model", "tokenizer.ggml.pre"
# The keys of a header's long lists, which nothing else reads.
TOKEN_LISTS = tuple(
    f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type", "merges")
)
_SPACE = "\u2581"
_CHARACTERS = {byte: character for character, byte in bytes_by_character().items()}
_BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
# Vocabularies of SentencePiece begin with these; others must name theirs.
_UNKNOWN, _START, _END = 0, 1, 2
# Where more tokens than this share of them have the score of another, scores are no order.
_MOST_EQUAL_SCORES = 0.1
# All other whole tokens of Phi-3 swallow the spaces behind them, which the file does not say.
_PHI3_PLAIN = ("<unk>", "<s>", "<|endoftext|>")


class GgufTokenizer(NamedTuple):
    """What a file says of texts."""

    backend: "Tokenizer"
    special: dict[str, str]
    """Tokens by their transformers names."""
    end_token_ids: frozenset[int]
    chat_template: str | None


def read_tokenizer(metadata: dict[str, Any]) -> GgufTokenizer:
    """`metadata` is the header's. Raises ValueError with a reason for what cannot be made."""
    kind = metadata.get(_MODEL)
    if kind == "llama":
        vocabulary = read_vocabulary(metadata, start=_START, end=_END)
        backend = _sentencepiece(vocabulary, metadata)
        starts = bool(metadata.get("tokenizer.ggml.add_bos_token", True))
    elif kind in ("gpt2", "gemma4"):
        vocabulary = read_vocabulary(metadata)
        splitting = _splitting("gemma4" if kind == "gemma4" else metadata.get(_PRE))
        backend = _byte_pairs(vocabulary, metadata, splitting)
        starts = splitting.needs_start or bool(
            metadata.get("tokenizer.ggml.add_bos_token", splitting.adds_start)
        )
    else:
        raise ValueError(f"its {_MODEL} is {kind!r}, and llama, gpt2 and gemma4 can be read")
    ends = bool(metadata.get("tokenizer.ggml.add_eos_token", False))
    _add_whole_tokens(backend, vocabulary, _is_phi3(metadata))
    _add_borders(backend, vocabulary, starts=starts, ends=ends)
    places = {
        "bos_token": vocabulary.start,
        "eos_token": vocabulary.end,
        "unk_token": vocabulary.unknown,
        "pad_token": vocabulary.padding,
    }
    special = {
        name: vocabulary.tokens[place]
        for name, place in places.items()
        # Some files pad with a word, which is no special token for that.
        if place is not None and vocabulary.kinds[place] in WHOLE_KINDS
    }
    return GgufTokenizer(backend, special, vocabulary.end_token_ids, _chat_template(metadata))


def save_tokenizer(tokenizer: GgufTokenizer, folder: Path) -> None:
    """Writes the files that `core.models.tokenizer` and transformers read."""
    tokenizer.backend.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "TokenizersBackend", **tokenizer.special}
    text = dumps(settings, indent=1)
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    if tokenizer.chat_template is not None:
        template = folder / "chat_template.jinja"
        template.write_text(tokenizer.chat_template, encoding="utf-8", newline="")


def _splitting(name: Any) -> Splitting:
    if name is None:
        raise ValueError(
            f"it has no {_PRE}, which says how texts are split; files of before May 2024 lack it: add "
            "it with `gguf-new-metadata --pre-tokenizer NAME OLD NEW`, or take a newer file"
        )
    if not isinstance(name, str) or name not in SPLITTINGS:
        raise ValueError(f"its {_PRE} is {name!r}, which is no known way to split texts")
    return SPLITTINGS[name]


def _byte_pairs(
    vocabulary: Vocabulary, metadata: dict[str, Any], splitting: Splitting
) -> "Tokenizer":
    """Pairs merge in the order of the file's list, inside the words that the splitting makes."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    ids = vocabulary.ids
    model = models.BPE(
        vocab=ids,
        merges=_listed_merges(vocabulary, metadata, splitting),
        ignore_merges=splitting.takes_whole_words,
        byte_fallback=not splitting.is_byte_level,
    )
    backend = Tokenizer(model)
    steps: list[Any] = [
        pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in splitting.patterns
    ]
    if splitting.is_byte_level:
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        backend.decoder = decoders.ByteLevel()
    else:
        _need_bytes(ids)
        backend.normalizer = normalizers.Replace(" ", _SPACE)
        backend.decoder = _decoder(strips=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return backend


def _listed_merges(
    vocabulary: Vocabulary, metadata: dict[str, Any], splitting: Splitting
) -> list[tuple[str, str]]:
    """Each pair once, at its first place."""
    ids = vocabulary.ids
    spelled = {
        "".join(_CHARACTERS[byte] for byte in text.encode())
        if splitting.is_byte_level
        else text.replace(" ", _SPACE)
        for text in vocabulary.texts_of(*WHOLE_KINDS)
    }
    merges: dict[tuple[str, str], None] = {}
    for merge in list_of(str, metadata, "tokenizer.ggml.merges"):
        place = merge.find(" ", 1)
        pair = first, second = merge[:place], merge[place + 1 :]
        if place > 0 and first in ids and second in ids and first + second in ids:
            merges[pair] = None
            continue
        missing = {text for text in (*pair, "".join(pair)) if text not in ids}
        # Tokens that are found as a whole are stored as they are read, and no word holds them.
        if missing & spelled:
            continue
        raise ValueError(f"its merge {merge[:40]!r} is of tokens that it does not have")
    return list(merges)


def _sentencepiece(vocabulary: Vocabulary, metadata: dict[str, Any]) -> "Tokenizer":
    """The neighbours that make the token of the highest score merge first."""
    from tokenizers import Tokenizer, models, normalizers

    ids = vocabulary.ids
    _need_bytes(ids)
    merges = _scored_merges(vocabulary, metadata)
    backend = Tokenizer(models.BPE(vocab=ids, merges=merges, byte_fallback=True))
    adds_space = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    steps: list[Any] = [normalizers.Prepend(_SPACE)] if adds_space else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    backend.decoder = _decoder(strips=adds_space)
    return backend


def _scored_merges(vocabulary: Vocabulary, metadata: dict[str, Any]) -> list[tuple[str, str]]:
    """All pairs that make a token, those of the highest score first."""
    scores = list_of(float, metadata, "tokenizer.ggml.scores", len(vocabulary.tokens))
    words = set(vocabulary.texts_of(Kind.NORMAL, Kind.UNUSED))
    merges = []
    made_scores = {}
    for index, token in enumerate(vocabulary.tokens):
        if token not in words:
            continue
        for place in range(1, len(token)):
            pair = token[:place], token[place:]
            if pair[0] in words and pair[1] in words:
                merges.append((-scores[index], index, place, pair))
                made_scores[token] = scores[index]
    if len(set(made_scores.values())) < (1 - _MOST_EQUAL_SCORES) * len(made_scores):
        raise ValueError("the scores of its tokens are equal and say not which merge comes first")
    return [pair for *_, pair in sorted(merges)]


def _need_bytes(ids: dict[str, int]) -> None:
    """For characters without a token."""
    missing = next((token for token in _BYTE_TOKENS if token not in ids), None)
    if missing is not None:
        raise ValueError(f"it has no token {missing}, without which not every text can be written")


def _decoder(*, strips: bool) -> Any:
    """`strips` takes the space away that was put before the text."""
    from tokenizers import decoders

    steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strips else steps)


def _add_whole_tokens(backend: "Tokenizer", vocabulary: Vocabulary, is_phi3: bool) -> None:
    """Tokens that are found before a text is split."""
    from tokenizers import AddedToken

    def added(text: str, is_special: bool) -> AddedToken:
        strips = is_phi3 and text not in _PHI3_PLAIN
        return AddedToken(text, normalized=False, special=is_special, rstrip=strips)

    backend.add_special_tokens(
        [added(text, True) for text in vocabulary.texts_of(Kind.CONTROL, Kind.UNKNOWN)]
    )
    backend.add_tokens([added(text, False) for text in vocabulary.texts_of(Kind.USER_DEFINED)])


def _is_phi3(metadata: dict[str, Any]) -> bool:
    name = str(metadata.get("general.name", "")).lower()
    return "phi-3" in name or "phi3" in name


def _add_borders(backend: "Tokenizer", vocabulary: Vocabulary, *, starts: bool, ends: bool) -> None:
    """The tokens round a plain text. Without any there is a processor all the same, for
    transformers would put one of its own there."""
    from tokenizers import processors

    borders = []
    for is_wanted, place, name in (
        (starts, vocabulary.start, "bos"),
        (ends, vocabulary.end, "eos"),
    ):
        if is_wanted and place is None:
            raise ValueError(f"it wants a {name} token round texts and names none")
        borders.append([vocabulary.tokens[place]] if is_wanted and place is not None else [])
    first, last = borders
    backend.post_processor = processors.TemplateProcessing(
        single=[*first, "$A", *last],
        pair=[*first, "$A", *last, "$B", *last],
        special_tokens=[(text, vocabulary.tokens.index(text)) for text in {*first, *last}],
    )


def _chat_template(metadata: dict[str, Any]) -> str | None:
    """The one for plain chats."""
    names = metadata.get("tokenizer.chat_templates")
    templates = {"default": metadata.get("tokenizer.chat_template")} | {
        name: metadata.get(f"tokenizer.chat_template.{name}")
        for name in (names if isinstance(names, list) else [])
    }
    return chosen_template(
        {name: text for name, text in templates.items() if isinstance(text, str)}
    )
