"""A GGUF file's own numbers as the target's layers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize

from core.backends.cpu.library import Kernels
from core.backends.torch.weights import LayerStack
from core.errors import InvalidSettingError
from core.families.gguf import in_gguf
from core.loading.forward import make_runner
from core.loading.gguf_weights import decode_blocks, gguf_stack
from core.loading.weight_loading import Placement
from core.models.gguf_index import open_gguf
from core.models.gguf_model import GgufModel
from core.models.model_config import model_config_of
from core.runtime.storage import no_progress
from core.trees.tree import DraftTree
from tests.tiny_models import tiny_model

TYPES = {name: GGMLQuantizationType[name] for name in ("Q4_0", "Q4_1", "Q8_0")}
never = bool  # called without arguments it is False


@pytest.mark.parametrize("type_name", TYPES)
def test_a_decoded_grid_is_what_the_file_means(type_name: str) -> None:
    weight = np.random.default_rng(0).normal(size=(16, 96)).astype(np.float32)
    data = quantize(weight, TYPES[type_name])
    expected = torch.from_numpy(dequantize(data, TYPES[type_name]))
    grid = decode_blocks(data, type_name)
    assert int(grid.values.max()) < 2**grid.bits
    assert torch.equal(grid.dequantize(), expected)


def permuted(weight: np.ndarray[Any, Any], num_heads: int) -> np.ndarray[Any, Any]:
    """Rows of heads as llama.cpp stores them: pairs that rotate together side by side."""
    halves = weight.reshape(num_heads, 2, -1, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path, module: Any, layer_type: str, table_type: str) -> None:
    """The module's weights as llama.cpp's converter names them; the module gets what was kept."""
    writer = GGUFWriter(path, "llama")

    def put(name: str, parameter: torch.nn.Parameter, type_name: str, num_heads: int = 0) -> None:
        kind = GGMLQuantizationType[type_name]
        data = quantize(parameter.data.numpy(), kind)
        parameter.data = torch.from_numpy(dequantize(data, kind)).view(parameter.shape)
        if num_heads:
            data = permuted(data, num_heads)
        writer.add_tensor(name, data, raw_dtype=kind)

    base, config = module.model, module.config
    put("token_embd.weight", base.embed_tokens.weight, table_type)
    if module.lm_head.weight is not base.embed_tokens.weight:
        put("output.weight", module.lm_head.weight, table_type)
    put("output_norm.weight", base.norm.weight, "F32")
    for index, layer in enumerate(base.layers):
        attention, mlp, prefix = layer.self_attn, layer.mlp, f"blk.{index}."
        put(prefix + "attn_norm.weight", layer.input_layernorm.weight, "F32")
        put(prefix + "ffn_norm.weight", layer.post_attention_layernorm.weight, "F32")
        q, k = attention.q_proj.weight, attention.k_proj.weight
        put(prefix + "attn_q.weight", q, layer_type, config.num_attention_heads)
        put(prefix + "attn_k.weight", k, layer_type, config.num_key_value_heads)
        put(prefix + "attn_v.weight", attention.v_proj.weight, layer_type)
        put(prefix + "attn_output.weight", attention.o_proj.weight, layer_type)
        put(prefix + "ffn_gate.weight", mlp.gate_proj.weight, layer_type)
        put(prefix + "ffn_up.weight", mlp.up_proj.weight, layer_type)
        put(prefix + "ffn_down.weight", mlp.down_proj.weight, layer_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def stack_of_file(path: Path, module: Any, weights: str, kernels: Kernels | None) -> LayerStack:
    """The file's layers, by the configuration of the module that it was made of."""
    model_config = model_config_of(module)
    file = open_gguf(path)
    tokenizer: Any = None
    layout = in_gguf(model_config.described, file.tensors)
    model = GgufModel(file, tokenizer, "", {}, model_config, layout)
    place = Placement(torch.float32, torch.device("cpu"), kernels)
    return gguf_stack(path, model, weights, place, no_progress).stack


@pytest.mark.parametrize(
    ("layer_type", "table_type", "weights"),
    [("Q4_0", "Q8_0", "q4"), ("Q4_1", "Q4_1", "q4"), ("Q8_0", "F32", "q8")],
)
@pytest.mark.parametrize("family", ["llama", "llama3-rope"])  # tied, and with a head of its own
def test_the_layers_compute_what_the_dequantized_model_computes(
    family: str, layer_type: str, table_type: str, weights: str, tmp_path: Path
) -> None:
    module = tiny_model(family)
    path = tmp_path / "model.gguf"
    write_gguf(path, module, layer_type, table_type)
    stack = stack_of_file(path, module, weights, None)
    packed = make_runner(tiny_model(family), 512, stack=stack)
    full = make_runner(module, 512)
    prompt = [5, 17, 99, 3, 42]
    for runner in (packed, full):
        runner.begin(prompt, 20, never)
    got, expected = (runner.tree_forward(DraftTree(42)) for runner in (packed, full))
    error = (got - expected).norm() / expected.norm()
    assert float(error) < 0.03, "torch's int4 kernel has scales and rows in bf16"


def test_the_compiled_kernels_hold_the_very_weights_of_the_file(
    tmp_path: Path, kernels: Kernels
) -> None:
    module = tiny_model("llama")
    write_gguf(tmp_path / "model.gguf", module, "Q4_1", "Q8_0")
    stack = stack_of_file(tmp_path / "model.gguf", module, "q4", kernels)
    weight = torch.cat([part.weight for part in _qkv_of(module)])
    assert torch.equal(stack.layers[1].qkv.dequantize(), weight)  # type: ignore[attr-defined]
    assert stack.is_tied
    packed = make_runner(tiny_model("llama"), 512, stack=stack, kernels=kernels)
    full = make_runner(module, 512)
    for runner in (packed, full):
        runner.begin([5, 17, 99, 3, 42], 20, never)
    got, expected = (runner.tree_forward(DraftTree(42)) for runner in (packed, full))
    assert (got - expected).norm() / expected.norm() < 0.03, "rows are in 8 bits"


def _qkv_of(module: Any) -> list[Any]:
    attention = module.model.layers[1].self_attn
    return [attention.q_proj, attention.k_proj, attention.v_proj]


def test_other_types_are_refused_with_what_to_do(tmp_path: Path) -> None:
    module = tiny_model("llama")
    write_gguf(tmp_path / "model.gguf", module, "Q8_0", "Q8_0")
    with pytest.raises(InvalidSettingError, match=r"holds Q8_0 .* leave weights out"):
        stack_of_file(tmp_path / "model.gguf", module, "q4", None)
