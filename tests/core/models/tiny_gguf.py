"""GGUF files of nothing but a small vocabulary, which merges whatever no splitting keeps apart.

`record_llama_cpp` writes what llama.cpp makes of them, into the file beside this one.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from gguf import GGUFWriter

RECORDED = Path(__file__).with_name("llama_cpp_ids.json")

TEXTS = (
    "",
    " ",
    "   ",
    "a",
    "Hello world, hello World!",
    "Sort:\n\n3 pears\n\n1 apple",
    "  1. one\n  2. two\n 10. ten\n",
    "1234567 12345 1,234.56 3.14e-10 0x1F v2.0 10%",
    "in 2024-11-26 at 09:05, 100 000 people (or 12)",
    '{"a": [1, 22, 333], "b": {"c": "d\\n"}, "e": null}',
    "| x | 1 |\n|---|---:|\n| y |    22 |\n",
    "def f(x):\n    if x > 1:\n\treturn x**2  # comment\n\n\n",
    "for (int i=0;i<10;++i) { a[i] += '\\n'; } // done\r\n\r\nend",
    "<p class=\"a\">it's</p> &amp; http://a.b/c?d=e&f=g#h user@host.org",
    "it's I'm you're we've they'll he'd IT'S I'M YOU'RE WE'VE THEY'LL HE'D",
    "don't DON'T o'clock 'tis rock'n'roll 'single' \"double\" `tick`",
    "fooBar HTTPServer XMLHttpRequest iPhone McDonald ABCdef abcDEF ALLCAPS",
    "snake_case kebab-case path/to/file.txt C:\\dir ~/x $HOME ${y} a+b=c",
    "trailing  ",
    "tab\tand\ttabs\t\t",
    "\n\nlines\n \n  \n\t\nend\n",
    " \n x \r\n y \r z",
    "a" * 40 + " " * 37 + "=" * 33 + "\n" * 7 + "-" * 9,
    "ha" * 12 + "!?" * 7 + "..." + "…" * 5,
    "naïve façade — “quotes” … Ångström Straße ÉCOLE",
    "cafe\u0301 n\u0303 A\u030a e\u0301\u0323 \u0301alone",
    "Ελληνικά Ωμέγα русский Язык ЁЖ ЦДЕ",
    "中文字符，标点。数字123和English混排！",
    "日本語のテキスト、カタカナとひらがな。１２３ｶﾅ",
    "한국어 텍스트ㄱㄴㄷ 안녕하세요 ㅋㅋㅋ",
    "العربية مع َحركات ١٢٣٤، هل؟ עברית שלום",
    "हिन्दी में पाठ १२३४ ภาษาไทย ກ ខ្មែរ မြန်မာ",
    "👩\u200d👩\u200d👧 🙂🙃 ❤️ 🇩🇪 ☕",
    "½ ² ³ Ⅷ ① ٣ 𝒜𝟙 ǅ ʰ ª º № ™ © °C",
    "\u00a0nbsp\u00a0\u2003em\u3000ideographic\u2028line\u2029par\u0085next",
    "\x00\x01\x07\x1b[0m\x7f\x1c\u00ad\ufeff\ue000\u200b",
    "a\u200db\u200cc \u202eabc\u202c",
    "<|im_end|> and </s> and <s>x<think>y</think><unk> <gone>",
    "<0x0A> [INST] <think> <|im_end|>\n\n<|im_end|>  x </s>\t y",
    "IMGIMGABZ <sentinel:12> IMGIMGZ    four  two",
    "！？：；（）《》〈〉「」『』、。—…",
    "$5 €6 £7 ¥8 ₿9 + − × ÷ = ≠ ≤ ∑ ∫ √ ∞ ^_^ <=> |x| ~y~ #1 @2 %3 &4 *5",
    "don\u2019t it\u2019s \u2018x\u2019 'S 'T",
    "word1word 1word word1 1a2b3c 12ab34",
    "end with number 7",
    "1\n2\n\n3\n\n\n4  5   6\t7",
    "ABC's DEF'S ghi'LL 's 'S's x'd",
    "  leading two\n   leading three\n\tleading tab",
    "A.B.C. e.g., i.e.; etc... (x) [y] {z} <w> \"v\" 'u'",
    "0 00 000 0000 00000 000000 0000000 ٠٠٠٠ 12٣45",
)  # fmt: skip

UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6
FIRST = {
    "<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, "<|im_end|>": CONTROL,
    "<think>": USER_DEFINED, "<gone>": UNUSED,
}  # fmt: skip


class TinyVocabulary(NamedTuple):
    """Tokens in order; merges as pairs of texts."""

    tokens: list[str]
    kinds: list[int]
    merges: list[tuple[str, str]]

    @property
    def scores(self) -> list[float]:
        """As SentencePiece has them: the later a token was made, the lower."""
        place = {"".join(pair): index for index, pair in enumerate(self.merges)}
        return [-1.0 - place.get(token, -1) for token in self.tokens]


def tiny_vocabulary(name: str) -> TinyVocabulary:
    """`bytes`: byte-level, with words that no merge makes. `spaces`: characters, U+2581 for spaces,
    and tokens for bytes."""
    stored = json.loads(RECORDED.read_text("utf-8"))["vocabularies"][name]
    single: list[str] = stored["single"]
    whole = list(stored["whole"])
    kinds = [*FIRST.values(), *[BYTE if len(token) == 6 else 1 for token in single]]
    tokens = [*FIRST, *single]
    merges = []
    for left, right in zip(stored["merges"][::2], stored["merges"][1::2], strict=True):
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    tokens += whole
    return TinyVocabulary(tokens, kinds + [1] * (len(tokens) - len(kinds)), merges)


def write_vocabulary(
    path: Path, vocabulary: TinyVocabulary, settings: dict[str, Any], *, model: str
) -> Path:
    """A file that llama.cpp opens with `vocab_only`; `settings` are values by their keys."""
    writer = GGUFWriter(path, "llama")
    add_vocabulary(writer, vocabulary, settings, model=model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def add_vocabulary(
    writer: GGUFWriter, vocabulary: TinyVocabulary, settings: dict[str, Any], *, model: str
) -> None:
    """All that a file says of its tokens."""
    writer.add_context_length(512)
    writer.add_tokenizer_model(model)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    if model == "llama":
        writer.add_token_scores(vocabulary.scores)
    else:
        writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    settings = {"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, **settings}
    for key, value in settings.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_int32(key, value) if value < 0 else writer.add_uint32(key, value)
        else:
            writer.add_string(key, value)


class Case(NamedTuple):
    """A vocabulary with settings; `extra` tokens follow it, with their kinds."""

    vocabulary: str
    model: str
    settings: dict[str, Any]
    extra: dict[str, int] = {}  # noqa: RUF012

    def write(self, path: Path) -> Path:
        """The file of the case."""
        tiny = tiny_vocabulary(self.vocabulary)
        tiny = tiny._replace(
            tokens=[*tiny.tokens, *self.extra], kinds=[*tiny.kinds, *self.extra.values()]
        )
        return write_vocabulary(path, tiny, self.settings, model=self.model)


def splitting_case(name: str, *, is_byte_level: bool) -> Case:
    """The file of a name of a splitting."""
    return Case("bytes" if is_byte_level else "spaces", "gpt2", {"tokenizer.ggml.pre": name})


_GGML = "tokenizer.ggml."
CASES = {
    "sentencepiece": Case("spaces", "llama", {}),
    "without a space before": Case("spaces", "llama", {_GGML + "add_space_prefix": False}),
    "an end and no start": Case(
        "spaces", "llama", {_GGML + "add_bos_token": False, _GGML + "add_eos_token": True}
    ),
    "phi-3": Case("spaces", "llama", {"general.name": "Phi-3 mini"}, {"<|endoftext|>": CONTROL}),
    "gemma4": Case("spaces", "gemma4", {_GGML + "add_bos_token": False}),
    "a start where none is usual": Case(
        "bytes", "gpt2", {_GGML + "pre": "qwen2", _GGML + "add_bos_token": True}
    ),
    "no start where one is usual": Case(
        "bytes", "gpt2", {_GGML + "pre": "llama-bpe", _GGML + "add_bos_token": False}
    ),
}
_SMOLLM = {_GGML + "pre": "smollm"}
END_CASES = {
    "texts": Case(
        "bytes", "gpt2", _SMOLLM,
        {"<|eot_id|>": 1, "<|endoftext|>": CONTROL, "<|eom_id|>": USER_DEFINED, "<end>": CONTROL},
    ),
    "keys": Case(
        "bytes", "gpt2",
        {
            **_SMOLLM, _GGML + "eot_token_id": 262, _GGML + "eom_token_id": 263,
            _GGML + "fim_pad_token_id": 264, _GGML + "fim_sep_token_id": 265,
        },
    ),
    "gaps": Case(
        "bytes", "gpt2", _SMOLLM,
        {"<fim_prefix>": 1, "<|fim_pad|>": 1, "<reponame>": CONTROL, "<|file_sep|>": CONTROL},
    ),
    "harmony": Case(
        "bytes", "gpt2", _SMOLLM,
        {"<|return|>": CONTROL, "<|call|>": CONTROL, "<|end|>": CONTROL, "<|channel|>": CONTROL},
    ),
    "calls and flush": Case(
        "bytes", "gpt2", _SMOLLM, {"<|calls|>": CONTROL, "<|flush|>": CONTROL, "<|end|>": CONTROL}
    ),
    "an end alone": Case("bytes", "gpt2", _SMOLLM, {"<|call|>": CONTROL, "<|end|>": CONTROL}),
    "tool response": Case("bytes", "gpt2", _SMOLLM, {"<|tool_response>": CONTROL}),
}  # fmt: skip
