"""A GGUF file of every family gives the text of the folder that it was made from."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from core.backends.cpu.linear import CpuLinear
from core.backends.torch.forward import TorchForward
from core.backends.torch.linear import DenseLinear
from core.families.registry import FAMILIES
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel, load_model
from core.models.gguf_config import config_of
from core.models.gguf_index import open_gguf
from core.models.sources import find_model
from core.runtime.storage import no_progress
from core.trees.tree import DraftTree
from tests.core.models.folders import PROMPT, ids_of, oracle_ids, save_module
from tests.core.models.gguf_families import (
    CASES,
    NOT_AS_LLAMA_CPP,
    RECORDED,
    random_module,
)
from tests.core.models.gguf_models import write_model
from tests.tiny_folder import byte_tokenizer


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return request.param, random_module(request.param), tmp_path_factory.mktemp("gguf")


def test_every_family_that_llama_cpp_has_is_tried() -> None:
    wanted = {name for name, family in FAMILIES.items() if family.gguf is not None}
    assert {config.model_type for config in CASES.values()} == wanted


def test_a_file_gives_the_text_of_its_folder(case: Any) -> None:
    _, module, path = case
    gguf = write_model(path / "model.gguf", module)
    expected = oracle_ids(save_module(path / "folder", module))
    assert ids_of(gguf) == ids_of(gguf, "ngram", compile=True) == expected


def test_the_same_numbers_come_out_of_a_file_as_went_in(case: Any) -> None:
    """Also where transformers' module is read, from a folder that is written for it."""
    name, module, path = case
    gguf = write_model(path / "model.gguf", module)
    again = load_model(gguf, dtype="float32", compile=False).module
    assert type(again) is type(module)
    for key, part in module.state_dict().items():
        read = again.state_dict()[key]
        # One was added in the file and taken away again.
        tolerance = 1e-6 if name.startswith(("gemma", "nemotron")) and part.dim() == 1 else 0.0
        torch.testing.assert_close(read, part, rtol=0.0, atol=tolerance, msg=f"{name} {key}")
    ids = torch.tensor([byte_tokenizer()(PROMPT).input_ids])
    with torch.inference_mode():
        torch.testing.assert_close(again(ids).logits, module(ids).logits, rtol=1e-5, atol=1e-4)


def logits_of(model: LoadedModel) -> torch.Tensor:
    """Behind the prompt."""
    runner = runner_of(model)
    ids = byte_tokenizer()(PROMPT).input_ids
    runner.begin(ids[:-1], 80, bool)
    return runner.tree_forward(DraftTree(ids[-1]))[0].clone()


def test_blocks_are_read_as_the_folder_that_is_written_of_them(case: Any) -> None:
    """The router's and the experts' as well; gpt-oss in the form in which its files are."""
    name, module, path = case
    type_name = "MXFP4" if name == "gpt_oss" else "Q8_0"
    gguf = write_model(path / "blocks.gguf", module, type_name=type_name)
    model = load_model(gguf, dtype="float32", compile=False)
    folder = load_model(str(model.source.folder), dtype="float32", compile=False)
    assert torch.equal(logits_of(model), logits_of(folder))
    if type_name == "Q8_0":
        packed = load_model(gguf)
        assert packed.is_packed and packed.stack is not None and folder.stack is not None
        for mine, written_out in zip(packed.stack.linears(), folder.stack.linears(), strict=True):
            assert isinstance(written_out, DenseLinear)
            if isinstance(mine, CpuLinear):  # else its width is no multiple of 32
                assert torch.equal(mine.dequantize().bfloat16().float(), written_out.weight)
        if not packed.stack.layers[-1].experts:  # of which rounded rows choose others
            error = (logits_of(packed) - logits_of(model)).norm() / logits_of(model).norm()
            assert float(error) < 0.1, "rows are rounded to 8 bits"


def test_no_folder_is_written_where_a_file_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", str(tmp_path / "home"))
    gguf = write_model(tmp_path / "model.gguf", random_module("gemma3"))
    model = load_model(gguf, dtype="float32", compile=False)
    assert model.stack is not None and not (tmp_path / "home" / "converted").exists()
    assert model.module is not None and (tmp_path / "home" / "converted").is_dir()
    assert find_model(gguf, no_progress).sha256 == model.source_key


@torch.inference_mode()
def test_llama_cpp_chooses_the_same_tokens(case: Any) -> None:
    """Recorded by `record_llama_cpp_families` for a prompt of several windows; None for close calls."""
    name, module, path = case
    if name in NOT_AS_LLAMA_CPP:
        return
    recorded = json.loads(RECORDED.read_text("utf-8"))[name]
    assert sum(token_id is not None for token_id in recorded) > 40
    runner = runner_of(
        load_model(write_model(path / "model.gguf", module), dtype="float32", compile=False)
    )
    ids = byte_tokenizer()(PROMPT).input_ids
    runner.begin(ids[:1], 80, bool)
    for token_id, expected in zip(ids, recorded, strict=True):
        best = int(runner.tree_forward(DraftTree(token_id))[0].argmax())
        assert expected in (None, best)
        runner.commit([])


@pytest.mark.parametrize(("said", "window"), [({}, 4096), ({"attention.sliding_window": 24}, 24)])
def test_starcoder2_has_the_window_that_its_files_do_not_say(
    said: dict[str, Any], window: int, tmp_path: Path
) -> None:
    long = {"context_length": 8192}
    path = write_model(tmp_path / "model.gguf", random_module("starcoder2"), {**long, **said})
    forward = runner_of(load_model(path, dtype="float32", compile=False)).forward
    assert isinstance(forward, TorchForward)
    assert {layer.kind.window for layer in forward.stack.layers} == {window}


# What llama.cpp knows of other architectures, and values that no family has.
STRANGE: dict[str, Any] = {
    "attention.causal": False,
    "attention.clamp_kqv": 8.0,
    "attention.head_count_kv": [2, 2],
    "attention.key_length_swa": 8,
    "attention.q_lora_rank": 64,
    "attention.scale": 0.35,
    "attention.shared_kv_layers": 2,
    "attention.sliding_window": 6,
    "attention.sliding_window_pattern": [False, True],
    "attention.temperature_length": 100,
    "attention.value_length": 8,
    "attention.output_scale": 0.3,
    "attn_logit_softcapping": 7.0,
    "block_count": 1,
    "decoder_start_token_id": 1,
    "deepstack_mapping": [1, -1],
    "embedding_scale": 7.0,
    "expert_count": 3,
    "expert_feed_forward_length": 77,
    "expert_gating_func": 4,
    "expert_group_count": 2,
    "expert_shared_count": 3,
    "expert_shared_feed_forward_length": 77,
    "expert_used_count": 3,
    "expert_weights_norm": "yes",
    "expert_weights_scale": 2.5,
    "feed_forward_length": [64, 128],
    "final_logit_softcapping": 7.0,
    "interleave_moe_layer_step": 1,
    "leading_dense_block_count": 1,
    "logit_scale": 0.7,
    "moe_every_n_layers": 2,
    "nextn_predict_layers": 1,
    "pooling_type": 3,
    "residual_scale": 0.7,
    "rope.dimension_count": 12,
    "rope.dimension_count_swa": 8,
    "rope.dimension_sections": [2, 2, 4, 0],
    "rope.freq_base": 77.0,
    "rope.freq_base_swa": 77.0,
    "rope.scaling.alpha": 100.0,
    "rope.scaling.attn_factor": 1.2,
    "rope.scaling.factor": 5.0,
    "rope.scaling.type": "dynamic",
    "rope.scaling.yarn_ext_factor": 0.5,
    "rope.scaling.yarn_log_multiplier": 0.1,
    "something.to_come": 1,
    "swiglu_clamp_exp": [7.0, 7.0],
    "use_parallel_residual": True,
}


# What does not fit to something else is told by that.
ELSEWHERE = (
    "positions in another way",
    "llama.expert_used_count",
    "rope_factors_short.weight",
    "olmo2.attention.sliding_window_pattern",
    "exaone4.attention.sliding_window_pattern",
)
# The size of layers that gpt-oss does not have, a factor beside the word that there is none, and which
# layers have a window beside none.
WITHOUT_EFFECT = (
    "gpt-oss.feed_forward_length",
    "command-r.rope.scaling.factor",
    "cohere2.rope.scaling.factor",
    "exaone4.attention.sliding_window_pattern",
)


def test_what_a_file_says_is_honoured_or_refused_by_its_key(case: Any) -> None:
    _, module, path = case
    file = open_gguf(Path(write_model(path / "model.gguf", module)))
    plain = config_of(file.metadata, file.tensors)
    for key, value in STRANGE.items():
        whole = f"{file.architecture}.{key}"
        try:
            changed = config_of({**file.metadata, whole: value}, file.tensors)
        except ValueError as error:
            told = str(error)
            assert any(words in told for words in (whole, *ELSEWHERE))
        else:
            if whole not in WITHOUT_EFFECT and file.metadata.get(whole) != value:
                assert changed != plain, whole
