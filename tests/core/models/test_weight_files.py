"""Weights come from the files that transformers takes, all of them and no others, or a sentence does."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ModelUnavailableError
from core.loading.loading import load_model
from tests.core.models.folders import (
    change_config,
    change_weights,
    ids_of,
    oracle_ids,
    save_module,
)
from tests.tiny_models import tiny_model

# What our own forward computes, and what transformers' module does.
FAMILIES = ["llama", "codegen"]


def assert_refused(name: str, *words: str) -> None:
    with pytest.raises(ModelUnavailableError) as told:
        load_model(name, dtype="float32", compile=False)
    message = str(told.value)
    assert "\n" not in message and message.endswith(".")
    for word in words:
        assert word in message, message


def another_set(folder: Path, file: str) -> None:
    """Weights of another model beside those of the folder."""
    tensors = {
        name: part.clone() for name, part in tiny_model("llama", seed=9).state_dict().items()
    }
    save_file(tensors, folder / file, {"format": "pt"})


@pytest.mark.parametrize(
    "file", ["zz.safetensors", "a.safetensors", "model-00001-of-00001.safetensors"]
)
def test_other_weights_beside_model_safetensors_are_not_read(file: str, tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model("llama"))
    expected = ids_of(name)
    another_set(tmp_path, file)
    assert ids_of(name) == expected == oracle_ids(name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_in_shards_is_read_by_its_index_alone(family: str, tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model(family), max_shard_size="150KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    another_set(tmp_path, "model-99999-of-99999.safetensors")
    assert (
        ids_of(name)
        == oracle_ids(name)
        == ids_of(save_module(tmp_path / "one", tiny_model(family)))
    )


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model("llama"), max_shard_size="150KB")
    missing = sorted(tmp_path.glob("model-*.safetensors"))[1]
    missing.unlink()
    assert_refused(name, f"{missing.name} is not there")


def test_shards_without_their_index_are_refused(tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model("llama"), max_shard_size="150KB")
    (tmp_path / "model.safetensors.index.json").unlink()
    assert_refused(name, "neither model.safetensors nor model.safetensors.index.json")


@pytest.mark.parametrize(
    "index",
    [
        "[]", "{", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "../elsewhere.safetensors"}}', '{"weight_map": {"a": "b.bin"}}',
    ],
)  # fmt: skip
def test_an_index_that_is_none_is_refused(index: str, tmp_path: Path) -> None:
    name = save_module(tmp_path / "model", tiny_model("llama"))
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (tmp_path / "model" / "model.safetensors.index.json").write_text(index, "utf-8")
    assert_refused(name, "model.safetensors.index.json")


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "_orig_mod.module.", "module._orig_mod."]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_wrappers_put_before_names_is_left_out(
    family: str, prefix: str, tmp_path: Path
) -> None:
    name = save_module(tmp_path, tiny_model(family))
    expected = ids_of(name)
    change_weights(tmp_path, lambda tensors: {prefix + key: part for key, part in tensors.items()})
    assert ids_of(name) == expected


def test_wrappers_of_single_layers_are_left_out_as_well(tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model("llama"))
    expected = ids_of(name)
    change_weights(
        tmp_path,
        lambda tensors: {
            key.replace("layers.1.", "layers.1._orig_mod."): part for key, part in tensors.items()
        },
    )
    assert ids_of(name) == expected


def test_two_weights_of_one_name_are_refused(tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model("llama"))
    norm = "model.norm.weight"
    change_weights(tmp_path, lambda tensors: {**tensors, f"_orig_mod.{norm}": tensors[norm] * 2})
    assert_refused(name, f"two weights named {norm}")


@pytest.mark.parametrize(
    ("family", "weight"),
    [
        ("llama", "model.layers.1.mlp.up_proj.weight"),
        ("llama", "model.layers.2.input_layernorm.weight"),
        ("llama", "model.embed_tokens.weight"),
        ("mistral", "lm_head.weight"),
        ("qwen2", "model.layers.0.self_attn.k_proj.bias"),
        ("qwen3", "model.layers.0.self_attn.q_norm.weight"),
        ("codegen", "transformer.h.1.mlp.fc_in.weight"),
        ("codegen", "transformer.h.0.mlp.fc_out.bias"),
    ],
)
def test_a_missing_weight_is_named(family: str, weight: str, tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model(family))
    change_weights(tmp_path, lambda tensors: {k: v for k, v in tensors.items() if k != weight})
    assert_refused(name, "lacks the weights", weight)


@pytest.mark.parametrize(
    ("family", "weight"),
    [
        ("llama", "model.layers.1.self_attn.q_proj.bias"),
        ("llama", "model.layers.1.self_attn.q_norm.weight"),
        ("llama", "model.layers.7.mlp.up_proj.weight"),
        ("llama", "score.weight"),
        ("qwen3", "model.layers.0.self_attn.o_proj.bias"),
        ("codegen", "transformer.h.1.more.weight"),
    ],
)
def test_a_weight_that_nobody_reads_is_refused(family: str, weight: str, tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model(family))
    change_weights(tmp_path, lambda tensors: {**tensors, weight: torch.ones(16)})
    assert_refused(name, weight)


@pytest.mark.parametrize("family", ["llama", "qwen2", "codegen"])
def test_a_weight_of_another_size_is_named(family: str, tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model(family))
    weight = max(load_file(tmp_path / "model.safetensors"), key=lambda key: ("down" in key, key))
    change_weights(tmp_path, lambda tensors: {**tensors, weight: torch.ones(3, 5)})
    assert_refused(name, "other sizes", weight)


@pytest.mark.parametrize("is_equal", [True, False])
def test_a_tied_head_that_is_in_the_files_is_read_as_transformers_reads_it(
    is_equal: bool, tmp_path: Path
) -> None:
    name = save_module(tmp_path, tiny_model("llama"))
    tied = ids_of(name)
    table = "model.embed_tokens.weight"
    change_weights(
        tmp_path,
        lambda tensors: {
            **tensors, "lm_head.weight": tensors[table].clone() if is_equal else -tensors[table]
        },
    )  # fmt: skip
    assert ids_of(name) == oracle_ids(name)
    assert (ids_of(name) == tied) == is_equal


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_old_formats_get_a_sentence(file: str, tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model("llama"))
    (tmp_path / "model.safetensors").rename(tmp_path / file)
    assert_refused(name, file, "safetensors")


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "fp8"},
        {"quant_method": "mxfp4"},
        {"bits": 4},
    ],
    ids=lambda settings: str(settings.get("quant_method")),
)
@pytest.mark.parametrize("family", FAMILIES)
def test_quantized_folders_get_a_sentence(
    family: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    name = save_module(tmp_path, tiny_model(family))
    change_config(tmp_path, quantization_config=settings)
    assert_refused(name, f"quantized by {settings.get('quant_method')!r}")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.uint8])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_in_packed_numbers_get_a_sentence(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    name = save_module(tmp_path, tiny_model(family))
    change_weights(
        tmp_path,
        lambda tensors: {
            key: part.to(dtype) if part.dim() > 1 else part for key, part in tensors.items()
        },
    )
    assert_refused(name, "weights of the type")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_plain_numbers_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    name = save_module(tmp_path, tiny_model("llama"))
    change_weights(tmp_path, lambda tensors: {key: part.to(dtype) for key, part in tensors.items()})
    assert ids_of(name) == oracle_ids(name)


def test_an_adapter_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert_refused(str(tmp_path), "adapter", "merge")


def test_weights_under_another_name_are_read_where_the_configuration_says_so(
    tmp_path: Path,
) -> None:
    name = save_module(tmp_path, tiny_model("llama"))
    expected = ids_of(name)
    (tmp_path / "model.safetensors").rename(tmp_path / "mine.safetensors")
    assert_refused(name, "mine.safetensors")
    change_config(tmp_path, transformers_weights="mine.safetensors")
    assert ids_of(name) == expected == oracle_ids(name)
    text = json.loads((tmp_path / "config.json").read_text("utf-8"))["transformers_weights"]
    change_config(tmp_path, transformers_weights=f"../{tmp_path.name}/{text}")
    assert_refused(name, "not there")
