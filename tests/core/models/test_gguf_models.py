"""A GGUF file gives the text of the folder that it was made from, or says what is not computed."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from transformers import FalconConfig

from core.errors import ModelUnavailableError
from core.loading.loading import load_model
from core.models.gguf_index import open_gguf
from core.models.sources import find_model
from core.models.weight_files import weight_files
from core.runtime.storage import no_progress
from tests.core.models import gguf_families
from tests.core.models.folders import ids_of, oracle_ids, save_module
from tests.core.models.gguf_models import write_model
from tests.core.models.test_architectures import _SIZES, LLAMA_SHAPED, random_module
from tests.tiny_models import tiny_model

# Settings that no GGUF file of a llama says.
_NOT_IN_FILES = (
    "norms and biases", "another activation", "a window in all layers", "a window in some layers",
)  # fmt: skip
# A table of 192 rows of 64 numbers of 4 bytes stands first; what follows begins behind it.
OFFSET, NEXT_OFFSET = struct.pack("<IQ", 0, 192 * 64 * 4), struct.pack("<IQ", 0, 192 * 64 * 2)


def assert_refused(path: str, *words: str) -> None:
    with pytest.raises(ModelUnavailableError) as told:
        find_model(path, no_progress)
    message = str(told.value)
    assert "\n" not in message and message.endswith(".")
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("case", [case for case in LLAMA_SHAPED if case not in _NOT_IN_FILES])
def test_a_file_gives_the_text_of_its_folder(case: str, tmp_path: Path) -> None:
    module = random_module(LLAMA_SHAPED[case])
    gguf = write_model(tmp_path / "model.gguf", module)
    expected = oracle_ids(save_module(tmp_path / "folder", module))
    assert ids_of(gguf) == ids_of(gguf, "ngram") == expected


def test_a_file_that_transformers_reads_gives_the_text_of_its_folder(tmp_path: Path) -> None:
    module = random_module(FalconConfig(**_SIZES))
    changed = {
        "feed_forward_length": module.config.ffn_hidden_size, "attention.head_count_kv": 1,
        "attention.key_length": None, "attention.value_length": None,
    }  # fmt: skip
    gguf = write_model(tmp_path / "model.gguf", module, changed)
    expected = oracle_ids(save_module(tmp_path / "folder", module))
    assert ids_of(gguf) == ids_of(gguf, "ngram") == expected


def joined(tensors: dict[str, Any], name: str, *pieces: str) -> dict[str, Any]:
    """With one tensor in each layer for several; `name` and `pieces` have {} for the layer."""
    tensors = dict(tensors)
    index = 0
    while pieces[0].format(index) in tensors:
        parts = [tensors.pop(piece.format(index)) for piece in pieces]
        tensors[name.format(index)] = np.concatenate(parts, axis=-2)
        index += 1
    return tensors


def test_projections_in_one_tensor_are_read_as_those_in_three(tmp_path: Path) -> None:
    path = Path(write_model(tmp_path / "model.gguf", tiny_model("llama")))
    pieces = [f"blk.{{}}.attn_{part}.weight" for part in "qkv"]
    whole = rewritten(path, lambda tensors: joined(tensors, "blk.{}.attn_qkv.weight", *pieces))
    assert ids_of(whole) == ids_of(str(path))
    assert ids_of(str(find_model(whole, no_progress).folder)) == ids_of(str(path))


def test_gates_of_experts_in_one_tensor_are_read_as_those_in_two(tmp_path: Path) -> None:
    path = Path(write_model(tmp_path / "model.gguf", gguf_families.random_module("mixtral")))
    pieces = [f"blk.{{}}.ffn_{part}_exps.weight" for part in ("gate", "up")]
    whole = rewritten(
        path, lambda tensors: joined(tensors, "blk.{}.ffn_gate_up_exps.weight", *pieces)
    )
    assert ids_of(whole) == ids_of(str(path))


def test_blocks_become_bfloat16(tmp_path: Path) -> None:
    gguf = write_model(tmp_path / "model.gguf", tiny_model("llama"), type_name="Q8_0")
    model = load_model(gguf, dtype="float32", compile=False)
    weight = model.module.model.layers[0].mlp.up_proj.weight
    assert weight.bfloat16().float().equal(weight)
    assert model.stack is not None
    assert torch.equal(model.stack.layers[0].gate_up.weight[-len(weight) :], weight)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope.dimension_count", 8),
        ("attention.value_length", 8),
        ("attention.sliding_window", 8),
        ("attention.causal", False),
        ("attention.scale", 0.3),
        ("expert_count", 4),
        ("expert_used_count", 2),
        ("final_logit_softcapping", 30.0),
        ("logit_scale", 0.5),
        ("pooling_type", 3),
        ("residual_scale", 0.2),
        ("rope.dimension_sections", [2, 2, 4, 0]),
        ("rope.scaling.alpha", 100.0),
        ("rope.scaling.attn_factor", 1.2),
        ("rope.scaling.type", "longrope"),
        ("rope.scaling.yarn_ext_factor", 0.0),
        ("rope.scaling.yarn_log_multiplier", 0.1),
        ("something.to_come", 1),
        ("vocab_size", 191),
        ("attention.head_count", "four"),
        ("attention.head_count_kv", [2, 2, 2]),
        ("block_count", 0),
        ("context_length", None),
        ("attention.layer_norm_rms_epsilon", None),
        ("attention.layer_norm_rms_epsilon", float("nan")),
        ("general.type", "adapter"),
        ("general.architecture", "mpt"),
    ],
    ids=str,
)
def test_a_value_that_is_not_honoured_is_named(key: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    if key == "general.architecture":
        write_model(path, tiny_model("llama"), {key: value})
        assert_refused(str(path), "the architecture 'mpt' is not computed")
        return
    write_model(path, tiny_model("llama"), {key: value})
    assert_refused(str(path), {"general.type": "adapter"}.get(key, key.split(".")[-1][:5]))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("block_count", 10**9, "1000000000 layers are more than its tensors make"),
        ("block_count", 4, "it lacks blk.3."),
        ("block_count", 2, "it has blk.2."),
        ("embedding_length", 128, "is of another size"),
        ("feed_forward_length", 64, "is of another size"),
        ("attention.head_count_kv", 3, "do not come out even"),
        ("attention.key_length", 10**9, "not 1000000000"),
    ],
)
def test_sizes_that_the_tensors_do_not_have_are_refused(
    key: str, value: int, words: str, tmp_path: Path
) -> None:
    write_model(tmp_path / "model.gguf", tiny_model("llama"), {key: value})
    assert_refused(str(tmp_path / "model.gguf"), words)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention.causal", True),
        ("attention.sliding_window", 0),
        ("attention.sliding_window", 512),
        ("expert_count", 0),
        ("final_logit_softcapping", 0.0),
        ("rope.scale_linear", 1.0),
        ("rope.scaling.factor", 0.0),
        ("rope.scaling.finetuned", True),
        ("rope.scaling.type", "none"),
        ("tensor_data_layout", "Meta AI original pth"),
        ("something.to_come", False),
        ("general.tags", ["a", "b"]),
        ("attention.key_length", None),
        ("rope.dimension_count", None),
        ("vocab_size", None),
    ],
    ids=str,
)
def test_a_value_that_changes_nothing_changes_nothing(key: str, value: Any, tmp_path: Path) -> None:
    module = tiny_model("llama")
    gguf = write_model(tmp_path / "model.gguf", module, {key: value})
    assert ids_of(gguf) == ids_of(save_module(tmp_path / "folder", module))


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear"])
def test_a_factor_without_a_kind_is_linear(key: str, tmp_path: Path) -> None:
    module = random_module(LLAMA_SHAPED["linear"])
    expected = oracle_ids(save_module(tmp_path / "folder", module))
    left_out = {"rope.scaling.type": None, "rope.scaling.factor": None}
    gguf = write_model(tmp_path / "model.gguf", module, {**left_out, key: 4.0})
    assert ids_of(gguf) == expected


def rewritten(path: Path, change: Any) -> str:
    """The file with other tensors; `change` gets and gives them by name."""
    reader = GGUFReader(path)
    writer = GGUFWriter(path.with_name("changed.gguf"), "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kinds = [*field.types, None]
            writer.add_key_value(key, field.contents(), kinds[0], kinds[1])
    for name, data in change(
        {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    ).items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path.with_name("changed.gguf"))


def without(name: str) -> Any:
    return lambda tensors: {key: data for key, data in tensors.items() if key != name}


def with_another(name: str, *shape: int) -> Any:
    return lambda tensors: {**tensors, name: np.ones(shape, dtype=np.float32)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("blk.1.ffn_up.weight"), "it lacks blk.1.ffn_up.weight"),
        (without("token_embd.weight"), "it has no token_embd.weight"),
        (without("output_norm.weight"), "it lacks output_norm.weight"),
        (with_another("blk.0.attn_q.bias", 64), "it lacks blk.0.attn_k.bias"),
        (with_another("blk.7.ffn_up.weight", 96, 64), "it has blk.7.ffn_up.weight, which is not"),
        (with_another("blk.0.attn_qkv.weight", 128, 64), "it has blk.0.attn_qkv.weight"),
        (with_another("rope_factors_long.weight", 8), "it has rope_factors_long.weight"),
        (with_another("rope_freqs.weight", 4), "rope_freqs.weight is not 8 numbers"),
        (with_another("blk.0.ffn_up.weight", 97, 64), "blk.0.ffn_up.weight is of another size"),
        (with_another("output.weight", 191, 64), "output.weight is of another size"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_that_are_missing_or_left_over_are_named(
    change: Any, words: str, tmp_path: Path
) -> None:
    write_model(tmp_path / "model.gguf", tiny_model("llama"))
    assert_refused(rewritten(tmp_path / "model.gguf", change), words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data + bytes(64), "64 bytes behind its last tensor"),
        (lambda data: data[:-64], "ends behind the end of the file"),
        (
            lambda data: data.replace(OFFSET, NEXT_OFFSET, 1),
            "does not begin where the tensor before",
        ),
    ],
)
def test_tensors_lie_one_behind_the_other(change: Any, words: str, tmp_path: Path) -> None:
    """So that a tensor of another size or type than it has is told, as in llama.cpp."""
    path = tmp_path / "model.gguf"
    write_model(path, tiny_model("llama"))
    path.write_bytes(change(path.read_bytes()))
    assert_refused(str(path), words)


def in_shards(folder: Path) -> list[Path]:
    folder.mkdir()
    write_model(folder / "model.gguf", tiny_model("llama"), num_in_a_shard=10, type_name="Q8_0")
    return sorted(folder.glob("model-*.gguf"))


def test_a_model_in_shards_is_read_whole_by_any_of_their_names(tmp_path: Path) -> None:
    shards = in_shards(tmp_path / "shards")
    assert len(shards) > 2
    one = write_model(tmp_path / "one.gguf", tiny_model("llama"), type_name="Q8_0")
    expected = ids_of(one)
    assert ids_of(str(shards[0])) == ids_of(str(shards[2])) == expected
    packed = load_model(str(shards[1]))
    assert packed.is_packed and packed.source.gguf == shards[0]
    assert open_gguf(shards[1]).tensors.keys() == open_gguf(Path(one)).tensors.keys()


def test_a_missing_shard_of_a_gguf_model_is_named(tmp_path: Path) -> None:
    shards = in_shards(tmp_path / "shards")
    shards[1].unlink()
    assert_refused(str(shards[0]), f"of its {len(shards)} shards {shards[1].name} is not there")


def test_a_shard_under_another_name_is_told_as_such(tmp_path: Path) -> None:
    first, second, *_ = in_shards(tmp_path / "shards")
    alone = first.with_name("model.gguf")
    alone.write_bytes(first.read_bytes())
    assert_refused(str(alone), "it is shard 1 of", "-00001-of-00003.gguf")
    second.write_bytes(first.read_bytes())
    assert_refused(str(first), "it is shard 1 of", "by its name 2 of")


def test_a_file_that_is_named_like_the_only_shard_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model-00001-of-00001.gguf"
    write_model(tmp_path / "model.gguf", tiny_model("llama"))
    (tmp_path / "model.gguf").rename(path)
    source = find_model(str(path), no_progress)
    assert source.gguf == path and source.model is not None


def test_large_models_are_written_in_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.models.gguf_folder._MOST_SHARD_BYTES", 100_000)
    module = tiny_model("llama")
    gguf = write_model(tmp_path / "model.gguf", module)
    source = find_model(gguf, no_progress)
    assert len(weight_files("it", source.folder)) > 2
    assert (
        ids_of(gguf)
        == ids_of(str(source.folder))
        == ids_of(save_module(tmp_path / "folder", module))
    )
