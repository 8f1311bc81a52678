"""Weights read straight from files against those that transformers loads."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.backends.torch.weights import LayerStack
from core.loading.forward import make_runner, runner_of
from core.loading.loading import LoadedModel, load_model
from core.models.model_config import model_config_of, read_model_config
from core.quant.stack import dense_of
from core.trees.tree import DraftTree
from tests.tiny_folder import byte_tokenizer
from tests.tiny_models import FAMILIES, tiny_model

PROMPT = [5, 17, 99, 3, 42, 42, 7]
OWN = [family for family in FAMILIES if family != "codegen"]


def saved(folder: Path, family: str, dtype: torch.dtype = torch.float32) -> str:
    module = tiny_model(family, dtype)
    module.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def weights_of(stack: LayerStack | None) -> list[torch.Tensor]:
    assert stack is not None
    dense = [dense_of(linear) for linear in stack.linears()]
    return [layer.weight for layer in dense if layer is not None]


def next_logits(model: LoadedModel) -> torch.Tensor:
    runner = runner_of(model)
    runner.begin(PROMPT, 100, bool)
    return runner.tree_forward(DraftTree(PROMPT[-1])).clone()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_computes_what_its_module_computes(
    family: str, dtype: str, tmp_path: Path
) -> None:
    model = load_model(saved(tmp_path, family), dtype=dtype, compile=False)
    module = model.module
    reference = make_runner(module, 512)
    reference.begin(PROMPT, 100, bool)
    # Bits may depend on where the weights lie in memory.
    torch.testing.assert_close(
        next_logits(model), reference.tree_forward(DraftTree(PROMPT[-1])), rtol=1e-5, atol=1e-5
    )
    assert model.identity.num_parameters == sum(part.numel() for part in module.parameters())
    assert model.context_limit == 512


@pytest.mark.parametrize("family", OWN)
def test_a_model_config_says_what_the_module_says(family: str, tmp_path: Path) -> None:
    saved(tmp_path, family)
    found, expected = read_model_config(tmp_path), model_config_of(tiny_model(family))
    assert found is not None
    for ours, theirs in zip(found.rotations, expected.rotations, strict=True):
        assert torch.equal(ours.inv_freq, theirs.inv_freq) and ours.scaling == theirs.scaling
    assert found._replace(rotations=()) == expected._replace(rotations=())


def test_kernels_keep_the_sixteen_bits_of_the_files(tmp_path: Path) -> None:
    name = saved(tmp_path, "llama", torch.bfloat16)
    on_cpu, dense = load_model(name), load_model(name, dtype="float32", compile=False)
    if on_cpu.kernels is None:
        pytest.skip(on_cpu.note)
    assert on_cpu.identity.num_bytes < 0.6 * dense.identity.num_bytes
    for ours, theirs in zip(weights_of(on_cpu.stack), weights_of(dense.stack), strict=True):
        assert torch.equal(ours, theirs)


def _without_rope(folder: Path) -> None:
    _change(folder, lambda config: config.pop("rope_parameters"))


def _partly_rotated(folder: Path) -> None:
    _change(folder, lambda config: config.update(partial_rotary_factor=0.5))


def _with_an_old_buffer(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(3)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _change(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    change(config)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


@pytest.mark.parametrize("spoil", [_without_rope, _with_an_old_buffer])
def test_what_the_files_leave_out_or_repeat_changes_nothing(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    name = saved(tmp_path, "llama")
    expected = next_logits(load_model(name, dtype="float32", compile=False))
    spoil(tmp_path)
    model = load_model(name, dtype="float32", compile=False)
    torch.testing.assert_close(next_logits(model), expected)


def test_a_partly_rotated_head_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    saved(tmp_path, "llama")
    assert read_model_config(tmp_path) is not None
    _partly_rotated(tmp_path)
    assert read_model_config(tmp_path) is None
