r"""How byte-pair tokenizers of GGUF files cut texts into words: what `tokenizer.ggml.pre` names.

The names and their meanings are llama.cpp's (src/llama-vocab.cpp and src/unicode.cpp), for files
have no other definition. Each pattern of a kind cuts the parts that the one before it left, at both
ends of what it finds. Patterns are written for Oniguruma, the engine of `tokenizers`; where
llama.cpp has a function in the place of a pattern, the pattern here does what the function does.
"""

from typing import NamedTuple


class Splitting(NamedTuple):
    """What one name stands for."""

    patterns: tuple[str, ...]
    takes_whole_words: bool = False
    """Whether a word that is a token is taken before any merge is tried."""
    adds_start: bool = False
    """Whether a start token stands before texts where the file does not say."""
    is_byte_level: bool = True
    """Else tokens are written in characters, with U+2581 for spaces."""
    needs_start: bool = False
    """Whether it stands there even where the file says that it does not."""


# Small and large, for Oniguruma would take more letters as the same.
_CONTRACTION = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"\s+(?!\S)|\s+"
_BREAKS = r"\s*[\r\n]+|" + _SPACES
_ASCII_SYMBOL = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""
_DIGIT, _UP_TO_THREE = r"\p{N}", r"\p{N}{1,3}"
# Threes from the right; what stands before digits goes with the first of them.
_THREES = r"[^\p{N}]*\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"
_CJK = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{30FF}]+"
_CJK_OR_KOREAN = r"[\x{0800}-\x{9FA5}\x{AC00}-\x{D7FF}&&[^\s]]+"
_HAN = (
    r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2EBEF}"
    r"\x{2F800}-\x{2FA1F}"
)
_ASIAN = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{8C48}-\x{FAFF}\x{3040}-\x{30FF}\x{FF65}-\x{FF9F}"
    r"\x{2F00}-\x{2FDF}\x{0E40}-\x{0EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}"
    r"\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+"
)
_HANGUL_OR_CJK = (
    r"[\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+"
    r"|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}-\x{FF1B}\x{FF0C}"
    r"\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+"
    rf"|[\x{{3105}}-\x{{312F}}]+|{_CJK}"
)
_LETTERS = (
    r"A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}"
    r"\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}"
    r"\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}"
    r"\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}"
    r"\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}"
    r"\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}"
    r"\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}"
    r"\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}"
    r"\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}"
    r"\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}"
    r"\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}"
    r"\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}"
    r"\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}"
    r"\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}"
    r"\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}"
)


def _words(
    numbers: str,
    *,
    contraction: str = f"{_CONTRACTION}|",
    word: str = rf"{_LEAD}\p{{L}}+",
    symbols: str = _SYMBOLS,
    breaks: str = _BREAKS,
) -> str:
    """The form that most vocabularies since Llama 3 have in common."""
    return f"{contraction}{word}|{numbers}|{symbols}|{breaks}"


def _cased_words(capital: str, small: str, contraction: str, numbers: str) -> str:
    """Words of capital letters before small ones."""
    word = f"{_LEAD}{capital}*{small}+{contraction}|{_LEAD}{capital}+{small}*{contraction}"
    return _words(numbers, contraction="", word=word, symbols=r" ?[^\s\p{L}\p{N}]+[\r\n/]*")


def _punctuated(symbols: str, breaks: str) -> str:
    """Words that may begin with a symbol."""
    word = rf"{_ASCII_SYMBOL}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
    return rf"{word}| ?[\p{{P}}\p{{S}}]+{symbols}|{breaks}"


# All letters but the small, or the capital, ones of ASCII.
_CAPITAL, _SMALL = r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])"
_MARKED_CAPITAL, _MARKED_SMALL = r"(?:(?=[\p{L}\p{M}])[^a-z])", r"(?:(?=[\p{L}\p{M}])[^A-Z])"
_ANY_CASE = r"[\p{L}\p{M}]"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + _SPACES
_LLAMA3, _QWEN2 = _words(_UP_TO_THREE), _words(_DIGIT)
_GPT4O = _cased_words(_CAPITAL, _SMALL, f"{_CONTRACTION}?", _UP_TO_THREE)
_UNCASED = _cased_words(_ANY_CASE, _ANY_CASE, f"{_CONTRACTION}?", _UP_TO_THREE)
_NO_STOPS = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{0964}\x{06D4}\x{060C})]+"
_LINES = r"[^\n]+|\n+"
_DIGIT_BY_DIGIT = (_DIGIT, _GPT2)
_DEEPSEEK3 = (_UP_TO_THREE, _CJK, _punctuated(r"[\r\n]*", _BREAKS))
_SHORT_RUNS = "|".join(
    [
        r"\s*[\r\n]+",
        *(rf"\s{{{length}}}(?!\S)" for length in (512, 256, 128, 64, 32, 16, 8, 4, "1,2")),
        r"\s",
    ]
)
_DEFAULT = (r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9]{3}")

_KINDS: dict[tuple[str, ...], Splitting] = {
    ("default",): Splitting(_DEFAULT),
    (
        "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
        "jina-v5-nano",
    ): Splitting((_LLAMA3,), takes_whole_words=True, adds_start=True),
    ("dbrx", "smaug-bpe", "chatglm-bpe"): Splitting((_LLAMA3,)),
    ("glm4", "glm5"): Splitting((_LLAMA3,), takes_whole_words=True),
    ("minicpm5",): Splitting((_UP_TO_THREE, _words(r"\p{N}+")), takes_whole_words=True),
    ("jais-2",): Splitting((_words(_UP_TO_THREE, breaks=_SHORT_RUNS),)),
    (
        "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan",
        "solar-open", "grok-2",
    ): Splitting((_QWEN2,)),
    ("laguna",): Splitting((_LINES, _QWEN2)),
    ("ufakzeka",): Splitting((_words(_DIGIT, contraction=""),)),
    ("qwen35",): Splitting(
        (
            _words(
                _DIGIT,
                word=rf"{_LEAD}[\p{{L}}\p{{M}}]+",
                symbols=r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
            ),
        )
    ),
    ("bailingmoe", "bailingmoe2", "llada-moe"): Splitting(
        (_words(_DIGIT, breaks=r"\s*[\r\n]|" + _SPACES),)
    ),
    ("seed-coder",): Splitting((_words(_DIGIT, symbols=r" ?[^\s\p{L}\p{N}\r\n]+"),)),
    ("exaone-moe",): Splitting(
        (
            _words(
                _DIGIT,
                word=rf"{_LEAD}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+",
                symbols=r" ?[^\s\p{L}\p{N}]+[\r\n/]?",
                breaks=r"\s*[\r\n]|" + _SPACES,
            ),
        )
    ),
    (
        "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0",
        "mellum", "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "mpt", "olmo", "jais",
        "exaone4", "trillion", "granite-docling",
    ): Splitting((_GPT2,)),
    (
        "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2",
    ): Splitting(_DIGIT_BY_DIGIT),
    ("falcon",): Splitting((r"[\p{P}$+<=>^~|`]+", _GPT2, "[0-9]{3}")),
    ("deepseek-llm",): Splitting(
        (
            r"[\r\n]",
            rf"\s?[{_LETTERS}]+",
            r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3001}\x{3002}]+",
            r"\s+\z",
            _CJK_OR_KOREAN,
            r"\p{N}+",
        )
    ),
    ("deepseek-coder",): Splitting(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_OR_KOREAN, _DIGIT)
    ),
    ("deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"): Splitting(_DEEPSEEK3),
    ("spark2_5",): Splitting(
        (_UP_TO_THREE, _CJK, _punctuated("", r"[\r\n]|" + _SPACES), _DIGIT)
    ),
    ("afmoe",): Splitting((_THREES, _ASIAN, _punctuated(r"[\r\n]*", _BREAKS))),
    ("youtu",): Splitting(
        (_HANGUL_OR_CJK, _cased_words(_ANY_CASE, _ANY_CASE, f"{_CONTRACTION}?", _DIGIT)),
        takes_whole_words=True,
    ),
    ("tekken",): Splitting(
        (_cased_words(_CAPITAL, _SMALL, "", _DIGIT),), takes_whole_words=True, adds_start=True
    ),
    ("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"): Splitting((_GPT4O,)),
    ("granite-embed-multi-97m",): Splitting(
        (_cased_words(_MARKED_CAPITAL, _MARKED_SMALL, f"{_CONTRACTION}?", _UP_TO_THREE),),
        takes_whole_words=True,
    ),
    ("tiny_aya", "cohere2moe"): Splitting((_THREES, _UNCASED)),
    ("kimi-k2",): Splitting(
        (
            f"[{_HAN}]+|"
            + _words(
                _UP_TO_THREE,
                contraction="",
                word=rf"{_LEAD}(?:(?![{_HAN}])\p{{L}})+{_CONTRACTION}?",
            ),
        )
    ),
    ("chameleon",): Splitting(
        (
            "<sentinel:[0-9]+>",
            "IMGIMG[A-I]{1,4}Z",
            r"[\t\n]|    |  ",
            _DIGIT,
            r"[\p{P}!-/:-@\[-`{-~]",
            _GPT2,
        ),
        adds_start=True,
    ),
    ("poro-chat", "bloom", "gpt3-finnish"): Splitting((_NO_STOPS,)),
    ("viking",): Splitting((_NO_STOPS, _DIGIT)),
    ("superbpe",): Splitting((r"\p{N}+", r"(?=(?:[0-9]{3})+(?![0-9]))")),
    ("gemma4", "granite-embed-multi-311m"): Splitting(
        (_LINES,), needs_start=True, is_byte_level=False
    ),
    ("sarvam-moe",): Splitting((_LINES,), is_byte_level=False),
}  # fmt: skip

SPLITTINGS: dict[str, Splitting] = {
    name: splitting for names, splitting in _KINDS.items() for name in names
}
