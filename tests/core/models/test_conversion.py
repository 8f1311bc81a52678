"""Whole GGUF files, weights and all, as they are loaded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from core.errors import ModelUnavailableError
from core.loading.loading import load_model
from core.loading.prompts import chat_token_ids
from tests.core.models.tiny_gguf import TinyVocabulary, add_vocabulary, tiny_vocabulary

HIDDEN, INNER = 32, 64
TEMPLATE = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}"


def write_model(path: Path, settings: dict[str, Any]) -> str:
    """A Llama of one layer; its vocabulary is the bytes, some control tokens and ten merges."""
    tiny = tiny_vocabulary("bytes")
    tiny = TinyVocabulary(tiny.tokens[:272], tiny.kinds[:272], tiny.merges[:10])
    writer = GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // 2)
    add_vocabulary(writer, tiny, settings, model="gpt2")
    numbers = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(tiny.tokens), HIDDEN), "output_norm": (HIDDEN,),
        "blk.0.attn_norm": (HIDDEN,), "blk.0.ffn_norm": (HIDDEN,),
        **{f"blk.0.attn_{name}": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate": (INNER, HIDDEN), "blk.0.ffn_up": (INNER, HIDDEN),
        "blk.0.ffn_down": (HIDDEN, INNER),
    }  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", numbers.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


SETTINGS = {
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.eot_token_id": 6,
    "tokenizer.chat_template": TEMPLATE,
}


def test_a_converted_llama_is_computed_by_our_own_forward(tmp_path: Path) -> None:
    """Its configuration also says what the file's model is called."""
    name = write_model(tmp_path / "tiny.gguf", SETTINGS)
    assert load_model(name, dtype="float32", compile=False).model_config is not None


def test_every_token_that_a_file_names_as_an_end_ends_an_answer(tmp_path: Path) -> None:
    """Of its turn, of its message and of its text, and those that are known by their texts."""
    name = write_model(tmp_path / "tiny.gguf", SETTINGS)
    read = load_model(name, dtype="float32", compile=False)
    model = load_model(str(read.source.folder), dtype="float32", compile=False)
    # Its own, <|im_end|>, and the end of a turn.
    assert read.eos_token_ids == model.eos_token_ids == {2, 3, 6}
    ids = chat_token_ids(model, [{"role": "user", "content": "a</s>"}])
    assert [model.tokenizer.convert_ids_to_tokens(token_id) for token_id in ids] == [
        "<s>", "a", "<", "/", "s", ">", "</s>"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"tokenizer.ggml.pre": "nobody-knows"}, "nobody-knows"),
        ({"tokenizer.ggml.eos_token_id": 272}, "eos_token_id is 272"),
        ({"tokenizer.ggml.bos_token_id": -1}, "bos_token_id is -1"),
    ],
)
def test_a_tokenizer_that_cannot_be_made_is_refused_in_one_line(
    changed: dict[str, Any], told: str, tmp_path: Path
) -> None:
    name = write_model(tmp_path / "tiny.gguf", {**SETTINGS, **changed})
    with pytest.raises(ModelUnavailableError, match=told) as refused:
        load_model(name, dtype="float32", compile=False)
    assert "\n" not in str(refused.value)
