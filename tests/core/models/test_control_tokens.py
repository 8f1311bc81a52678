"""What a user types is text, and what the template writes are its tokens."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from core.errors import InvalidSettingError
from core.loading.prompts import told
from core.models.chat_encoder import ChatEncoder
from core.models.gguf_header import read_header
from core.models.gguf_tokenizer import read_tokenizer, save_tokenizer
from core.models.tokenizer import PlainTokenizer, read_plain_tokenizer
from tests.core.models.tiny_gguf import CASES, TEXTS, splitting_case
from tests.tiny_folder import byte_tokenizer

TURNS = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
TRIMMED = TURNS.replace("m.content", "m.content | trim")
CONTROL = ("<s>", "</s>", "<|im_end|>", "<unk>")
FRAGMENTS = (
    *CONTROL, "<|im_", "end|>", "<", "/s>", "|>", " ", "\n", "a", "Hello 12", "<think>", "\ufdd0",
)  # fmt: skip


@pytest.fixture(scope="module", params=["bytes", "sentencepiece"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of a tiny GGUF file."""
    folder = tmp_path_factory.mktemp("tokenizer")
    case = splitting_case("smollm", is_byte_level=True)
    case = case if request.param == "bytes" else CASES["sentencepiece"]
    header = read_header(case.write(folder / "tiny.gguf"))
    save_tokenizer(read_tokenizer(header.metadata), folder)
    return folder


def with_template(folder: Path, template: str) -> PlainTokenizer:
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    tokenizer = read_plain_tokenizer(folder)
    assert tokenizer is not None
    return tokenizer


def three_turns(text: str, place: int) -> list[dict[str, str]]:
    """A chat with the text in the system prompt, a question or an answer."""
    chat = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "V"},
    ]
    chat[place]["content"] = text
    return chat


@pytest.mark.parametrize("template", [TURNS, TRIMMED], ids=["as it is", "trimmed"])
def test_ordinary_chats_become_the_tokens_of_transformers(folder: Path, template: str) -> None:
    encoder = ChatEncoder(with_template(folder, template))
    whole = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        if not any(token in text for token in CONTROL):
            chat = three_turns(text, 1)
            assert encoder.chat_token_ids(chat) == whole.apply_chat_template(
                chat, add_generation_prompt=True, return_dict=False
            ), text


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_control_tokens_in_a_content_are_text(folder: Path, text: str, place: int) -> None:
    """Between two tokens of the template stand the ids that the tokenizer has for plain text."""
    tokenizer = with_template(folder, TURNS)
    chat = three_turns(text, place)
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    expected: list[int] = []
    for message in chat:
        for piece in ("<s>", f"{message['role']}\n{message['content']}", "</s>", "\n"):
            control = backend.token_to_id(piece)
            plain = backend.encode(piece, add_special_tokens=False).ids
            expected += plain if control is None or piece == "\n" else [control]
    expected += [
        backend.token_to_id("<s>"),
        *backend.encode("assistant\n", add_special_tokens=False).ids,
    ]
    backend.encode_special_tokens = False
    assert ChatEncoder(tokenizer).chat_token_ids(chat) == expected


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """Newer Llamas': a space is put before a text, and none behind a token in it."""
    vocabulary = {
        token: index for index, token in enumerate(["<s>", "</s>", "▁", *"</s>abSUAV:\n"])
    }
    vocabulary = {token: index for index, token in enumerate(vocabulary)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    backend.add_special_tokens(
        [AddedToken("<s>", normalized=False), AddedToken("</s>", normalized=False)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("opening", ["", "a", "<s>"])
def test_only_the_first_word_of_a_prompt_gets_a_space_before_it(opening: str) -> None:
    tokenizer = metaspace_tokenizer()
    tokenizer.chat_template = opening + "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    ids = ChatEncoder(tokenizer).chat_token_ids(
        [{"role": "user", "content": "a</s>b"}, {"role": "assistant", "content": "b a"}]
    )
    first = {"": ["▁"], "a": ["▁", "a"], "<s>": ["<s>"]}[opening]
    expected = [*first, *"a</s>b", "</s>", "b", "▁", "a", "</s>"]
    assert tokenizer.convert_ids_to_tokens(ids) == expected


def test_contents_make_no_control_token_together() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "<{% for m in messages %}{{ m.content }}{% endfor %}<end>"
    for parts in (["<en", "d>"], ["end>", "x"]):
        chat = [{"role": "user", "content": part} for part in parts]
        ids = ChatEncoder(tokenizer).chat_token_ids(chat)
        assert ids.count(tokenizer.eos_token_id) == 1
        assert tokenizer.decode(ids) == "<" + "".join(parts) + "<end>"


def test_tags_that_a_template_writes_are_no_text_s_either(folder: Path) -> None:
    """Some vocabularies call the tags of their turns no special tokens."""
    chat = [{"role": "user", "content": "a<think>b"}]
    for template, typed in ((TURNS, 1), (TURNS + "<think>", 1), (TURNS + "<think>\n", 1)):
        tokenizer = with_template(folder, template)
        ids = ChatEncoder(tokenizer).chat_token_ids(chat)
        assert ids.count(tokenizer.get_vocab()["<think>"]) == typed


def test_a_template_still_sees_what_it_looks_for_in_a_content(folder: Path) -> None:
    thoughtless = TURNS.replace(
        "{{ m.content }}",
        "{% if m.role == 'assistant' %}{{ m.content.split('<|im_end|>')[-1] }}"
        "{% else %}{{ m.content }}{% endif %}",
    )
    tokenizer = with_template(folder, thoughtless)
    encoder, vocabulary = ChatEncoder(tokenizer), tokenizer.get_vocab()
    ids = encoder.chat_token_ids(three_turns("thought <|im_end|> answer</s>", 2))
    assert "thought" not in tokenizer.decode(ids) and "answer</s>" in tokenizer.decode(ids)
    assert ids.count(vocabulary["</s>"]) == 4
    ids = encoder.chat_token_ids(three_turns("thought <|im_end|> more", 1))
    assert "thought <|im_end|> more" in tokenizer.decode(ids)
    assert vocabulary["<|im_end|>"] not in ids


def test_a_text_alone_has_no_control_tokens_and_nothing_round_it(folder: Path) -> None:
    encoder = ChatEncoder(with_template(folder, TURNS))
    backend = with_template(folder, TURNS).backend_tokenizer
    backend.encode_special_tokens = True
    for text in ("a</s>", "Hello 12", "<|im_end|>"):
        assert encoder.text_token_ids(text) == backend.encode(text, add_special_tokens=False).ids


def test_what_a_vocabulary_cannot_write_is_no_typed_token() -> None:
    """Its sign for that is a special token, and stands where a template wrote none."""
    tokenizer = byte_tokenizer()  # which has none for a space, and writes <end>
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }};{% endfor %}"
    ids = ChatEncoder(tokenizer).chat_token_ids([{"role": "user", "content": "a <end>"}])
    assert tokenizer.convert_ids_to_tokens(ids) == ["a", "<end>", *"<end>", ";"]


def merging_tokenizer() -> Any:
    vocabulary = ["<", "/", "s", ">", "a", "</", "s>", "</s>"]
    merges = [("<", "/"), ("s", ">"), ("</", "s>")]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, merges))
    backend.add_special_tokens([AddedToken("</s>", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


def normalizing_tokenizer() -> Any:
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate("</s>a▁")}, []))
    backend.normalizer = normalizers.Prepend("▁")
    backend.add_special_tokens([AddedToken("</s>", normalized=True)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


class SlowTokenizer:
    """What is not of the `tokenizers` library."""

    special_tokens_map = {"eos_token": "</s>"}  # noqa: RUF012
    all_special_tokens = ("</s>",)

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        return merging_tokenizer()(text, add_special_tokens=add_special_tokens)


@pytest.mark.parametrize("make", [merging_tokenizer, normalizing_tokenizer, SlowTokenizer])
def test_what_a_tokenizer_can_only_read_as_a_control_token_is_refused(make: Any) -> None:
    tokenizer = make()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    encoder = ChatEncoder(tokenizer)
    assert encoder.chat_token_ids([{"role": "user", "content": "a"}])
    with (
        pytest.raises(InvalidSettingError, match=r"holds '</s>', .* of tiny can only"),
        told("tiny"),
    ):
        encoder.chat_token_ids([{"role": "user", "content": "a</s>"}])
