"""Texts of token ids, with a byte-level tokenizer in which every byte is a token."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from core.models.detokenizer import StreamDecoder, TokenTable


def byte_tokenizer() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<|end|>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")


TOKENIZER = byte_tokenizer()


def streamed(token_ids: list[int]) -> list[str]:
    stream = StreamDecoder(TOKENIZER)
    return [*(stream.push(token_id) for token_id in token_ids), stream.finish()]


@given(st.text(max_size=40))
def test_the_pieces_of_any_text_are_the_text(text: str) -> None:
    assert "".join(streamed(TOKENIZER(text).input_ids)) == text


def test_an_emoji_comes_with_its_last_byte() -> None:
    assert streamed(TOKENIZER("a🎉b").input_ids) == ["a", "", "", "", "🎉", "b", ""]


def test_a_character_that_never_ends_comes_at_the_end() -> None:
    pieces = streamed(TOKENIZER("a🎉").input_ids[:-1])
    assert pieces[:-1] == ["a", "", "", ""] and set(pieces[-1]) == {"\ufffd"}


@settings(max_examples=500)
@given(st.lists(st.integers(0, 255), max_size=60))
@example([94, 94, 94, 126, 94, 94, 94, 94])
def test_bytes_that_are_no_text_never_hold_the_stream_up(token_ids: list[int]) -> None:
    stream = StreamDecoder(TOKENIZER)
    silent = 0
    for token_id in token_ids:
        silent = 0 if stream.push(token_id) else silent + 1
        assert silent < 4


def test_special_tokens_add_nothing_to_the_text_but_have_a_name() -> None:
    end = TOKENIZER.eos_token_id
    assert "".join(streamed([*TOKENIZER("hi").input_ids, end])) == "hi"
    assert TokenTable(TOKENIZER).text_of(end) == "<|end|>"


def test_single_tokens_show_spaces_and_name_loose_bytes() -> None:
    table = TokenTable(TOKENIZER)
    assert [table.text_of(i) for i in TOKENIZER(" é").input_ids] == [" ", "<0xC3>", "<0xA9>"]


def test_ids_beyond_the_vocabulary_are_numbers() -> None:
    assert TokenTable(TOKENIZER).text_of(99_999) == "<99999>"
