"""A GGUF file's own numbers as the target's layers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize

from core.backends.cpu.library import Kernels
from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.backends.torch.linear import DenseLinear
from core.backends.torch.weights import LayerStack
from core.errors import InvalidSettingError
from core.families.gguf import in_gguf
from core.loading.forward import make_runner
from core.loading.gguf_weights import gguf_stack
from core.loading.weight_loading import Placement
from core.models.gguf_index import open_gguf
from core.models.gguf_model import GgufModel
from core.models.model_config import model_config_of
from core.runtime.storage import no_progress
from core.trees.tree import DraftTree
from tests.tiny_models import tiny_model

never = bool  # called without arguments it is False


def permuted(weight: np.ndarray[Any, Any], num_heads: int) -> np.ndarray[Any, Any]:
    """Rows of heads as llama.cpp stores them: pairs that rotate together side by side."""
    halves = weight.reshape(num_heads, 2, -1, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(
    path: Path,
    module: Any,
    layer_type: str,
    table_type: str,
    values_type: str | None = None,
    ffn_type: str | None = None,
) -> None:
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
        put(prefix + "attn_v.weight", attention.v_proj.weight, values_type or layer_type)
        put(prefix + "attn_output.weight", attention.o_proj.weight, layer_type)
        put(prefix + "ffn_gate.weight", mlp.gate_proj.weight, ffn_type or layer_type)
        put(prefix + "ffn_up.weight", mlp.up_proj.weight, ffn_type or layer_type)
        put(prefix + "ffn_down.weight", mlp.down_proj.weight, ffn_type or layer_type)
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


def runners(
    family: str, layer_type: str, table_type: str, path: Path, kernels: Kernels | None
) -> tuple[LayerStack, ModelRunner, ModelRunner]:
    """A file's layers, what computes them, and the module with the very weights of the file."""
    module = tiny_model(family)
    write_gguf(path, module, layer_type, table_type)
    stack = stack_of_file(path, module, "file", kernels)
    packed = make_runner(tiny_model(family), 512, stack=stack, kernels=kernels)
    return stack, packed, make_runner(module, 512)


def error_of(got: ModelRunner, expected: ModelRunner) -> float:
    for runner in (got, expected):
        runner.begin([5, 17, 99, 3, 42], 20, never)
    logits, wanted = (runner.tree_forward(DraftTree(42)) for runner in (got, expected))
    return float((logits - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    ("layer_type", "table_type"), [("Q4_0", "Q8_0"), ("Q5_1", "Q5_0"), ("Q8_0", "F32")]
)
@pytest.mark.parametrize("family", ["llama", "llama3-rope"])  # tied, and with a head of its own
def test_the_layers_compute_what_the_dequantized_model_computes(
    family: str, layer_type: str, table_type: str, tmp_path: Path, kernels: Kernels
) -> None:
    stack, packed, full = runners(family, layer_type, table_type, tmp_path / "m.gguf", kernels)
    assert {linear.kernel for linear in stack.layers[0].linears().values()} == {
        f"native {layer_type}, rows in 8 bits"
    }
    assert error_of(packed, full) < 0.03, "rows are in 8 bits"


def test_the_kernels_hold_the_very_weights_of_the_file(tmp_path: Path, kernels: Kernels) -> None:
    stack, _, full = runners("llama", "Q4_1", "Q8_0", tmp_path / "m.gguf", kernels)
    assert isinstance(full.forward, TorchForward)
    expected = full.forward.stack.layers[1]
    assert torch.equal(stack.layers[1].qkv.dequantize(), expected.qkv.weight)
    assert stack.is_tied


def test_a_layer_of_several_types_is_of_each_of_them(tmp_path: Path, kernels: Kernels) -> None:
    """As in K_M files, whose values take more bits than their queries and keys."""
    module = tiny_model("llama")
    path = tmp_path / "model.gguf"
    write_gguf(path, module, "Q4_0", "Q8_0", values_type="Q8_0", ffn_type="F16")
    stack = stack_of_file(path, module, "file", kernels)
    layer = stack.layers[0]
    assert layer.qkv.kernel == "native Q4_0, rows in 8 bits and native Q8_0, rows in 8 bits"
    assert layer.gate_up.kernel == "native fp16"
    full = make_runner(module, 512)
    assert isinstance(full.forward, TorchForward)
    assert torch.equal(layer.qkv.dequantize(), full.forward.stack.layers[0].qkv.weight)
    packed = make_runner(tiny_model("llama"), 512, stack=stack, kernels=kernels)
    assert error_of(packed, full) < 0.03


def test_without_kernels_whole_numbers_are_written_out(tmp_path: Path) -> None:
    stack, written_out, full = runners("llama", "Q4_0", "Q8_0", tmp_path / "m.gguf", None)
    assert all(isinstance(linear, DenseLinear) for linear in stack.linears())
    assert error_of(written_out, full) < 0.01, "they are rounded to bfloat16"


def test_quantized_layers_are_not_quantized_again(tmp_path: Path) -> None:
    module = tiny_model("llama")
    write_gguf(tmp_path / "model.gguf", module, "Q8_0", "Q8_0")
    with pytest.raises(
        InvalidSettingError, match=r"holds Q8_0 and weights q4 is Q4_0 or Q4_1; give weights file"
    ):
        stack_of_file(tmp_path / "model.gguf", module, "q4", None)
