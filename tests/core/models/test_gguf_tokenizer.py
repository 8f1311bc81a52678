"""Tokenizers of GGUF files give the ids that llama.cpp gave (recorded by `record_llama_cpp`)."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from core.models.gguf_header import read_header
from core.models.gguf_splitting import SPLITTINGS
from core.models.gguf_tokenizer import GgufTokenizer, read_tokenizer, save_tokenizer
from core.models.tokenizer import read_plain_tokenizer
from tests.core.models.tiny_gguf import (
    CASES,
    CONTROL,
    END_CASES,
    RECORDED,
    TEXTS,
    Case,
    splitting_case,
    tiny_vocabulary,
    write_vocabulary,
)

LLAMA_CPP = json.loads(RECORDED.read_text("utf-8"))
SMOLLM = {"tokenizer.ggml.pre": "smollm"}


def read(path: Path) -> GgufTokenizer:
    return read_tokenizer(read_header(path).metadata)


def assert_ids(tokenizer: GgufTokenizer, expected: list[list[int]]) -> None:
    for text, ids in zip(TEXTS, expected, strict=True):
        assert tokenizer.backend.encode(text).ids == ids, text


@pytest.mark.parametrize("name", SPLITTINGS)
def test_every_splitting_is_llama_cpp_s(name: str, tmp_path: Path) -> None:
    case = splitting_case(name, is_byte_level=SPLITTINGS[name].is_byte_level)
    places = LLAMA_CPP["splittings"][name]
    distinct = LLAMA_CPP["distinct"]
    assert_ids(
        read(case.write(tmp_path / "tiny.gguf")),
        [known[place] for known, place in zip(distinct, places, strict=True)],
    )


@pytest.mark.parametrize("name", CASES)
def test_what_stands_round_texts_and_how_spaces_are_written_is_llama_cpp_s(
    name: str, tmp_path: Path
) -> None:
    tokenizer = read(CASES[name].write(tmp_path / "tiny.gguf"))
    assert_ids(tokenizer, LLAMA_CPP["cases"][name]["ids"])
    tokenizer.backend.encode_special_tokens = True
    for text, ids in zip(TEXTS, LLAMA_CPP["cases"][name]["plain"], strict=True):
        assert tokenizer.backend.encode(text, add_special_tokens=False).ids == ids, text


@pytest.mark.parametrize("name", ["sentencepiece", "without a space before", "gemma4"])
def test_texts_come_back_from_their_ids(name: str, tmp_path: Path) -> None:
    backend = read(CASES[name].write(tmp_path / "tiny.gguf")).backend
    for text in TEXTS:
        ids = backend.encode(text, add_special_tokens=False).ids
        if not any(token in text for token in ("<s>", "</s>", "<think>", "<0x0A>")):
            assert backend.decode(ids) == text


@pytest.mark.parametrize("name", END_CASES)
def test_the_tokens_that_end_an_answer_are_llama_cpp_s(name: str, tmp_path: Path) -> None:
    tokenizer = read(END_CASES[name].write(tmp_path / "tiny.gguf"))
    assert sorted(tokenizer.end_token_ids) == LLAMA_CPP["ends"][name]


def test_a_word_that_ends_answers_elsewhere_is_a_word_where_the_file_says_so(
    tmp_path: Path,
) -> None:
    """Vocabularies of code have `</s>` as a word: an answer that strikes text out went no further.

    llama.cpp ends there."""
    tiny = tiny_vocabulary("bytes")
    kinds = [1 if token == "</s>" else kind for token, kind in zip(*tiny[:2], strict=True)]
    settings = {**SMOLLM, "tokenizer.ggml.eot_token_id": 3, "tokenizer.ggml.eos_token_id": 1}
    path = tmp_path / "tiny.gguf"
    write_vocabulary(path, tiny._replace(kinds=kinds), settings, model="gpt2")
    assert read(path).end_token_ids == {1, 3}


@pytest.mark.parametrize("name", ["sentencepiece", "gemma4", "no start where one is usual"])
def test_transformers_reads_the_files_as_they_are_read_here(name: str, tmp_path: Path) -> None:
    save_tokenizer(read(CASES[name].write(tmp_path / "tiny.gguf")), tmp_path)
    plain, whole = read_plain_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert plain is not None
    for text in TEXTS:
        ids = plain(text).input_ids
        assert ids == whole(text).input_ids
        assert plain.decode(ids) == whole.decode(ids)
    assert plain.get_vocab() == whole.get_vocab()
    assert set(plain.all_special_ids) == set(whole.all_special_ids)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tokenizer.ggml.pre": "nobody-knows"}, "nobody-knows"),
        ({}, "no tokenizer.ggml.pre, .* add it with `gguf-new-metadata --pre-tokenizer"),
        ({**SMOLLM, "tokenizer.ggml.eot_token_id": 10**6}, r"eot_token_id is 1000000"),
    ],
)
def test_what_llama_cpp_only_guesses_is_refused(
    settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    path = Case("bytes", "gpt2", settings).write(tmp_path / "tiny.gguf")
    with pytest.raises(ValueError, match=told):
        read(path)


@pytest.mark.parametrize("model", ["bert", "t5", "rwkv", "plamo2", "no_vocab", "whitespace"])
def test_other_kinds_of_tokenizers_are_refused_by_their_names(model: str, tmp_path: Path) -> None:
    path = Case("bytes", model, SMOLLM).write(tmp_path / "tiny.gguf")
    with pytest.raises(ValueError, match=model):
        read(path)


def test_a_vocabulary_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    tiny, spaced = tiny_vocabulary("bytes"), tiny_vocabulary("spaces")
    for vocabulary, model, told in (
        (tiny._replace(tokens=[*tiny.tokens[:-1], "a"]), "gpt2", "twice"),
        (tiny._replace(merges=[*tiny.merges, ("a", "qqq")]), "gpt2", "merge 'a qqq'"),
        (tiny._replace(kinds=tiny.kinds[:-1]), "gpt2", "token_type"),
        (spaced._replace(tokens=["x0" if t == "<0x00>" else t for t in spaced.tokens]), "llama",
         "<0x00>"),
        (spaced._replace(merges=[]), "llama", "scores"),
    ):  # fmt: skip
        write_vocabulary(path, vocabulary, SMOLLM, model=model)
        with pytest.raises(ValueError, match=told):
            read(path)


def test_a_token_stored_as_it_is_read_leaves_its_merges_unused(tmp_path: Path) -> None:
    """Converters write added tokens as plain text, and merges in the characters of bytes."""
    tiny = tiny_vocabulary("bytes")
    spaced = tiny._replace(
        tokens=["  " if token == "ĠĠ" else token for token in tiny.tokens],
        kinds=[4 if token == "ĠĠ" else kind for token, kind in zip(*tiny[:2], strict=True)],
    )
    assert spaced.kinds != tiny.kinds
    path = tmp_path / "tiny.gguf"
    write_vocabulary(path, spaced, SMOLLM, model="gpt2")
    backend = read(path).backend
    assert backend.encode("a  b").tokens == ["a", "  ", "b"]


def test_several_chat_templates_give_the_one_for_plain_chats(tmp_path: Path) -> None:
    path = Case("bytes", "gpt2", SMOLLM).write(tmp_path / "tiny.gguf")
    metadata = read_header(path).metadata
    names = {"tokenizer.chat_templates": ["tool_use", "chat"]}
    texts = {f"tokenizer.chat_template.{name}": name for name in ("tool_use", "chat")}
    assert read_tokenizer({**metadata, **names, **texts}).chat_template == "chat"
    assert read_tokenizer({**metadata, **names}).chat_template is None
    both = {**metadata, **names, **texts, "tokenizer.chat_template": "plain"}
    assert read_tokenizer(both).chat_template == "plain"


def test_control_tokens_are_no_words_of_a_text(tmp_path: Path) -> None:
    """In SentencePiece any piece can be merged to; llama.cpp merges to control tokens as well."""
    path, spaced = tmp_path / "tiny.gguf", tiny_vocabulary("spaces")
    settings = {"tokenizer.ggml.add_space_prefix": False}
    for kind, tokens in ((1, ["al"]), (CONTROL, ["a", "l"])):
        kinds = [kind if token == "al" else old for token, old in zip(*spaced[:2], strict=True)]
        write_vocabulary(path, spaced._replace(kinds=kinds), settings, model="llama")
        backend = read(path).backend
        backend.encode_special_tokens = True
        assert backend.encode("al", add_special_tokens=False).tokens == tokens


def test_a_start_is_a_token_and_a_word_to_pad_with_is_none_whatever_a_file_calls_them(
    tmp_path: Path,
) -> None:
    tiny = tiny_vocabulary("bytes")
    kinds = [1 if token == "<s>" else kind for token, kind in zip(*tiny[:2], strict=True)]
    settings = {**SMOLLM, "tokenizer.ggml.padding_token_id": tiny.tokens.index("!")}
    path = write_vocabulary(
        tmp_path / "tiny.gguf", tiny._replace(kinds=kinds), settings, model="gpt2"
    )
    tokenizer = read(path)
    assert tokenizer.special == {"bos_token": "<s>", "eos_token": "</s>"}
    assert tokenizer.backend.encode("<s>!").tokens == ["<s>", "!"]
