"""The plain tokenizer against transformers' own, on the same folder."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from core.models.chat_encoder import ChatEncoder
from core.models.conversion import MANIFEST_NAME
from core.models.detokenizer import TokenTable
from core.models.tokenizer import read_plain_tokenizer
from tests.tiny_folder import byte_tokenizer

TEXTS = ("hello world", "  two  spaces\n\ttab", "<end>hello<end> x", "", "1 + 2 = 3; naïve")
TEMPLATE = (
    "{%- for message in messages %}\n"
    "    {%- if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}\n"
    "    {%- if loop.index > 4 %}{% break %}{% endif %}\n"
    "{{ bos_token }}{{ message | tojson }}{{ message.content.strip() }}{{ eos_token }}\n"
    "{%- endfor %}\n"
    "{% if add_generation_prompt %}\n"
    "a: {% endif %}"
)
CHAT = [
    {"role": "user", "content": " <b>hi</b> 'you' "},
    {"role": "assistant", "content": "é\n"},
    {"role": "user", "content": "more"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer as the conversion of a GGUF file writes it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    backend = Tokenizer(models.BPE(vocab=byte_tokenizer().get_vocab(), merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<start>", normalized=False)])
    backend.post_processor = processors.TemplateProcessing(
        single="<start> $A", special_tokens=[("<start>", backend.token_to_id("<start>"))]
    )
    whole = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<start>", eos_token="<end>"
    )
    whole.chat_template = TEMPLATE
    whole.save_pretrained(folder)
    return folder


def test_texts_and_chats_become_the_tokens_of_transformers(folder: Path) -> None:
    plain, whole = read_plain_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert plain is not None
    for text in TEXTS:
        ids = plain(text).input_ids
        assert ids == whole(text).input_ids
        for skip in (True, False):
            assert plain.decode(ids, skip_special_tokens=skip) == whole.decode(
                ids, skip_special_tokens=skip
            )
    assert ChatEncoder(plain).chat_token_ids(CHAT) == whole.apply_chat_template(
        CHAT, add_generation_prompt=True, return_dict=False
    )
    assert plain.get_vocab() == whole.get_vocab()
    assert plain.eos_token_id == whole.eos_token_id
    assert set(plain.all_special_ids) == set(whole.all_special_ids)


def test_single_tokens_have_the_same_names(folder: Path) -> None:
    plain = read_plain_tokenizer(folder)
    assert plain is not None
    names, expected = TokenTable(plain), TokenTable(AutoTokenizer.from_pretrained(folder))
    for token_id in range(len(plain.get_vocab()) + 3):
        assert names.text_of(token_id) == expected.text_of(token_id)


def test_what_transformers_would_change_is_left_to_transformers(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert read_plain_tokenizer(tmp_path) is not None
    settings = (folder / "tokenizer_config.json").read_text("utf-8")
    for change in ('"add_bos_token": true,', '"tokenizer_class": "LlamaTokenizer",'):
        lines = settings.replace('"tokenizer_class"', '"was"') if "class" in change else settings
        (tmp_path / "tokenizer_config.json").write_text(
            lines.replace("{", "{" + change, 1), "utf-8"
        )
        assert read_plain_tokenizer(tmp_path) is None, change
    (tmp_path / "tokenizer_config.json").write_text(settings, "utf-8")
    (tmp_path / "tokenizer.json").write_text("{", "utf-8")
    assert read_plain_tokenizer(tmp_path) is None


def test_a_large_vocabulary_is_left_to_transformers_unless_it_was_converted_here(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    parts = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocabulary = parts["model"]["vocab"]
    vocabulary |= {f"x{index}": len(vocabulary) + index for index in range(100_000)}
    (tmp_path / "tokenizer.json").write_text(json.dumps(parts), "utf-8")
    assert read_plain_tokenizer(tmp_path) is None
    (tmp_path / MANIFEST_NAME).write_text("{}", "utf-8")
    assert read_plain_tokenizer(tmp_path) is not None
