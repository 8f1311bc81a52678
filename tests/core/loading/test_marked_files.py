"""Files of a model that an editor saved with a byte-order mark, and such as are no text at all."""

import shutil
from pathlib import Path

import pytest

from core.engine import Engine
from core.errors import ModelUnavailableError
from core.loading.loading import load_model
from tests.core.conftest import run

MARK = b"\xef\xbb\xbf"


def with_file(folder: Path, out: Path, name: str, content: bytes) -> str:
    shutil.copytree(folder, out)
    (out / name).write_bytes(content)
    return str(out)


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"],
)
def test_a_mark_changes_neither_prompt_nor_answer(
    name: str, tiny_home: Path, tmp_path: Path
) -> None:
    content = MARK + (tiny_home / "target" / name).read_bytes()
    marked = with_file(tiny_home / "target", tmp_path / "model", name, content)
    messages = [{"role": "user", "content": "Hello"}]
    plain, own = (
        Engine(load_model(target, dtype="float32", compile=False))
        for target in (str(tiny_home / "target"), marked)
    )
    assert own.chat_prompt(messages) == plain.chat_prompt(messages)
    assert own.target.eos_token_ids == plain.target.eos_token_ids
    assert run(own).token_ids == run(plain).token_ids


@pytest.mark.parametrize("content", [b'{"eos_token_id": ', MARK + b"{}", "{}".encode("utf-16")])
@pytest.mark.parametrize("family", ["target", "codegen"])
def test_end_tokens_that_cannot_be_read_are_not_left_out(
    family: str, content: bytes, tiny_home: Path, tmp_path: Path
) -> None:
    name = "generation_config.json"
    target = with_file(tiny_home / family, tmp_path / "model", name, content)
    if family == "target" and content == MARK + b"{}":
        assert load_model(target, dtype="float32", compile=False).stack is not None
        return
    with pytest.raises(ModelUnavailableError, match=r"generation_config\.json is broken"):
        load_model(target, dtype="float32", compile=False)
