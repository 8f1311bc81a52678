"""Weight files with broken headers and absurd sizes are refused in a sentence, and soon."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFValueType, GGUFWriter

from core.drafters.eagle_head import read_parts
from core.engine import Engine
from core.errors import DrafterUnavailableError, ModelUnavailableError
from core.loading.loading import load_model
from tests.core.conftest import run
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tiny_model(tmp_path / "model")
    return tmp_path / "model"


def assert_refused(name: Path) -> None:
    with pytest.raises(ModelUnavailableError) as told:
        load_model(str(name), dtype="float32", compile=False)
    assert "\n" not in str(told.value) and str(told.value).endswith(".")


def with_header(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(64)


def entry(**changed: Any) -> bytes:
    values = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64], **changed}
    return json.dumps({"model.embed_tokens.weight": values}).encode()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x08", id="half a length"),
        pytest.param(with_header(entry(), 2**63), id="a header of eight exabytes"),
        pytest.param(with_header(entry(), 10**8), id="a header longer than the file"),
        pytest.param(with_header(b"{"), id="half a header"),
        pytest.param(with_header(b"[" * 100_000), id="a deep header"),
        pytest.param(with_header(entry(shape=[2**40, 2**40])), id="an absurd shape"),
        pytest.param(with_header(entry(shape=[-1])), id="a negative shape"),
        pytest.param(with_header(entry(data_offsets=[0, 2**62])), id="data behind the end"),
        pytest.param(
            with_header(entry(data_offsets=[64, 0])), id="data that ends before it begins"
        ),
        pytest.param(with_header(entry(dtype="OBJECT")), id="an unknown type"),
        pytest.param(with_header(entry(dtype="I64", shape=[8])), id="whole numbers as weights"),
        pytest.param(b"\x80\x04\x95" + b"cos\nsystem\n(S'x'\ntR.", id="a pickle"),
    ],
)
def test_safetensors_that_lie_are_refused(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert_refused(folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"num_hidden_layers": 10**9},
        {"vocab_size": 2**40},
        {"hidden_size": 2**40},
        {"hidden_size": -1},
        {"num_attention_heads": 0},
        {"num_hidden_layers": "many"},
        {"text_config": {"num_hidden_layers": 10**9}},
        {"num_key_value_heads": 4},
        {"head_dim": 10**9},
        {"head_dim": 32},
        {"model_type": "no-such-type"},
        {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}, "model_type": "evil"},
    ],
    ids=str,
)
@pytest.mark.parametrize("compile", [False, True])
def test_a_configuration_that_lies_is_refused_or_changes_nothing(
    changed: dict[str, Any], compile: bool, folder: Path
) -> None:
    def load() -> Engine:
        return Engine(load_model(str(folder), dtype="float32", compile=compile))

    plain = run(load(), max_new_tokens=4)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changed}), "utf-8")
    (folder / "evil.py").write_text("raise SystemExit('code of a model was run')", "utf-8")
    try:
        engine = load()
    except ModelUnavailableError as error:
        assert "\n" not in str(error)
    else:  # what the weights tell as well is not asked for
        assert run(engine, max_new_tokens=4).token_ids == plain.token_ids


@pytest.mark.parametrize("content", ["[]", "null", "{", "[" * 100_000], ids=lambda text: text[:5])
def test_a_configuration_that_is_none_is_refused(content: str, folder: Path) -> None:
    (folder / "config.json").write_text(content, "utf-8")
    assert_refused(folder)


def test_weights_as_a_pickle_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert_refused(folder)


HEAD = b"GGUF" + struct.pack("<I", 3)


def counts(num_tensors: int, num_values: int) -> bytes:
    return HEAD + struct.pack("<QQ", num_tensors, num_values)


def value(kind: int, content: bytes, key: bytes = b"a.key") -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + content


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GGUF", id="magic alone"),
        pytest.param(b"FUGG" + bytes(100), id="other magic"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 99, 0, 0), id="a version to come"),
        pytest.param(counts(2**63, 0) + bytes(100), id="tensors without end"),
        pytest.param(counts(0, 2**63) + bytes(100), id="values without end"),
        pytest.param(counts(0, 1) + value(9, struct.pack("<IQ", 4, 2**62)), id="a long array"),
        pytest.param(counts(0, 1) + value(9, struct.pack("<IQ", 8, 2**62)), id="many strings"),
        pytest.param(
            counts(0, 1) + value(9, struct.pack("<IQ", 9, 1) * 1000), id="arrays of arrays"
        ),
        pytest.param(counts(0, 1) + value(8, struct.pack("<Q", 2**63)), id="a long string"),
        pytest.param(counts(0, 1) + value(77, bytes(8)), id="an unknown type"),
        pytest.param(
            counts(1, 0) + struct.pack("<Q", 1) + b"t" + struct.pack("<I", 2**31) + bytes(64),
            id="a tensor of many dimensions",
        ),
        pytest.param(
            counts(1, 0)
            + struct.pack("<Q", 1) + b"t" + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0),
            id="a tensor of many weights",
        ),
    ],
)  # fmt: skip
def test_gguf_files_that_lie_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert_refused(path)


def test_a_gguf_cut_off_anywhere_in_its_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
    writer.add_key_value("llama.block_count", 2, GGUFValueType.UINT32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert_refused(path)


def test_an_eagle_head_as_a_pickle_runs_no_code(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    body = b"cbuiltins\nopen\n(S'" + str(mark).encode() + b"'\nS'w'\ntR."
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02" + body)
    with pytest.raises(DrafterUnavailableError):
        read_parts(tmp_path)
    assert not mark.exists()
