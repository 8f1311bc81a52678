"""A tokenizer with more tokens than the model has rows never reaches behind them."""

from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from core.engine import Engine
from core.errors import InvalidSettingError, ModelUnavailableError
from core.loading.loading import load_model
from tests.core.conftest import run
from tests.core.models.folders import save_module
from tests.core.models.gguf_models import write_model
from tests.core.models.test_architectures import LLAMA_SHAPED, random_module
from tests.tiny_folder import byte_tokenizer

NUM_TOKENS = 181  # with the end


def model_of(num_rows: int) -> Any:
    return LlamaForCausalLM(
        LlamaConfig.from_dict({**LLAMA_SHAPED["plain"].to_dict(), "vocab_size": num_rows})
    )


@pytest.mark.parametrize("num_rows", [100, NUM_TOKENS - 2])
def test_ordinary_tokens_without_a_row_are_refused(num_rows: int, tmp_path: Path) -> None:
    name = save_module(tmp_path, model_of(num_rows))
    with pytest.raises(ModelUnavailableError) as told:
        load_model(name, dtype="float32", compile=False)
    count = NUM_TOKENS - 1 - num_rows
    assert f"has {count} tokens that its embedding of {num_rows} rows lacks" in str(told.value)
    assert f"id {num_rows})" in str(told.value)


@pytest.mark.parametrize("compile", [False, True])
def test_an_added_token_without_a_row_is_refused_where_a_text_has_it(
    compile: bool, tmp_path: Path
) -> None:
    save_module(tmp_path, random_module(LLAMA_SHAPED["plain"]))
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.add_tokens(["<more>"] + [f"<{number}>" for number in range(20)])
    tokenizer.save_pretrained(tmp_path)
    engine = Engine(load_model(str(tmp_path), dtype="float32", compile=compile))
    assert len(run(engine, "a plain text", max_new_tokens=4).token_ids) == 4
    with pytest.raises(
        InvalidSettingError, match=r"token id \d+ and the model's embedding has 192"
    ):
        run(engine, "with <19> in it", max_new_tokens=4)


def gguf_with_more_tokens(path: Path) -> str:
    tokens = ["!", "!!", *(f"t{number}" for number in range(198))]
    return write_model(
        path,
        random_module(LLAMA_SHAPED["plain"]),
        {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [1] * 200},
    )


def test_a_gguf_file_with_more_tokens_than_rows_is_refused(tmp_path: Path) -> None:
    gguf = gguf_with_more_tokens(tmp_path / "model.gguf")
    with pytest.raises(
        ModelUnavailableError, match=r"8 tokens that its embedding of 192 rows lacks"
    ):
        load_model(gguf, dtype="float32", compile=False)


@pytest.mark.parametrize("kind", ["folder", "gguf"])
@pytest.mark.parametrize("failure", ["fail", "plain"])
def test_a_draft_model_with_more_tokens_than_rows_is_refused(
    kind: str, failure: str, tmp_path: Path
) -> None:
    """Going on without drafts is for those that break, not for those that were never whole."""
    if kind == "folder":
        draft = save_module(tmp_path / "draft", model_of(100))
    else:
        draft = gguf_with_more_tokens(tmp_path / "draft.gguf")
    target = save_module(tmp_path / "target", random_module(LLAMA_SHAPED["plain"]))
    engine = Engine(load_model(target, dtype="float32", compile=False))
    with pytest.raises(ModelUnavailableError, match=r"tokens that its embedding of \d+ rows lacks"):
        run(engine, "a text", mode="sd-classic", draft=draft, draft_failure=failure)


def test_a_model_that_transformers_computes_is_held_against_its_tokenizer_as_well(
    tmp_path: Path,
) -> None:
    name = save_module(tmp_path, GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=32, n_head=2)))
    with pytest.raises(ModelUnavailableError, match=r"80 tokens that its embedding of 100 rows"):
        load_model(name, dtype="float32", compile=False)
