"""Settings of every family, changed and left out at random: our own forward computes what transformers'
module computes of the same config.json, or leaves the model to it."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from core.backends.runner import ModelRunner
from core.errors import ModelUnavailableError
from core.families.description import reason_against
from core.loading.forward import runner_of
from core.loading.loading import load_model
from tests.core.families import family_configs
from tests.core.families.family_configs import CONFIGS
from tests.core.families.test_families import random_tokens, rows_of_trees
from tests.tiny_folder import byte_tokenizer

NUM_INPUTS = 2000
# Other orders of summation change float32 by a few millionths; wide models more.
_MOST_DIFFERENCE = 1e-4
_ACTIVATIONS = ["silu", "gelu", "gelu_pytorch_tanh", "relu", "gelu_new", "swish"]
_SWITCH = [True, False]
_VALUES: dict[str, list[Any]] = {
    "hidden_act": _ACTIVATIONS,
    "hidden_activation": [*_ACTIVATIONS, None],
    "sliding_window": [None, 3, 8, 64, 512, 600],
    "num_key_value_heads": [1, 2, 4],
    "head_dim": [8, 16, 24, 32, None],
    "attn_logit_softcapping": [None, 1.0, 30.0],
    "final_logit_softcapping": [None, 2.0],
    "query_pre_attn_scalar": [8, 16, 100],
    "num_experts_per_tok": [1, 2, 3],
    "decoder_sparse_step": [1, 2, 3],
    "mlp_only_layers": [[], [0], [1]],
    "floor_scale": [2, 6, 8192],
    "attn_scale": [0.1, 0.7],
    "attention_chunk_size": [4, 8, 100],
    "partial_rotary_factor": [0.5, 0.25, 1.0],
    "rms_norm_eps": [1e-6, 1e-3],
    "clip_qkv": [None, 1.0],
    "attention_multiplier": [0.1, 1.0],
    "logits_scaling": [2.0, 8.0],
    "residual_multiplier": [0.2, 1.0],
    "embedding_multiplier": [12.0, 1.0],
    "max_window_layers": [0, 1, 2],
    "pretraining_tp": [1, 2],
    "swiglu_limit": [7.0, 3.0],
    "moe_layers": [[0], [1], []],
    **dict.fromkeys(
        (
            "use_sliding_window", "tie_word_embeddings", "attention_bias", "mlp_bias", "qkv_bias",
            "use_bidirectional_attention", "norm_topk_prob", "use_qk_norm", "attn_temperature_tuning",
        ),
        _SWITCH,
    ),
}  # fmt: skip
_ROTATIONS: list[dict[str, Any]] = [
    {"rope_theta": 500.0},
    {"partial_rotary_factor": 0.5},
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
]  # fmt: skip
_NEEDED = ("model_type", "vocab_size", "hidden_size", "num_attention_heads", "pad_token_id")


def changed_settings(seed: int) -> dict[str, Any]:
    """A family's config.json with some settings changed and some left out."""
    choose = random.Random(seed)
    config: dict[str, Any] = copy.deepcopy(CONFIGS[choose.choice(list(CONFIGS))].to_dict())
    keys = [key for key in _VALUES if key in config or choose.random() < 0.05]
    for key in choose.sample(keys, min(choose.randint(1, 4), len(keys))):
        config[key] = choose.choice(_VALUES[key])
    for key in ("layer_types", "no_rope_layers"):
        if config.get(key) and choose.random() < 0.3:
            config[key] = [choose.choice(config[key]) for _ in config[key]]
    if "rope_type" in (config.get("rope_parameters") or {}) and choose.random() < 0.3:
        config["rope_parameters"] |= choose.choice(_ROTATIONS)
    if choose.random() < 0.5:
        for key in choose.sample(sorted(config), 3):
            if key not in _NEEDED:
                del config[key]
    return config


def module_of(folder: Path) -> Any | None:
    """transformers' module of the folder's configuration, saved beside it; None where it refuses it."""
    try:
        config = AutoConfig.from_pretrained(folder)
        module = family_configs.module_of(config)
        with torch.inference_mode():
            module(input_ids=torch.tensor([random_tokens(8)]), use_cache=False)
        module.generation_config.eos_token_id = None
        module.save_pretrained(folder)
    except Exception:  # it says no in its own ways
        return None
    return module


def own_runner(folder: Path, config: dict[str, Any]) -> ModelRunner | None:
    """None where the model is left to transformers' module, or is refused."""
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    if reason_against(config) is not None:
        return None
    byte_tokenizer().save_pretrained(folder)
    try:
        model = load_model(str(folder), dtype="float32", compile=False)
    except ModelUnavailableError:
        return None
    return None if model.model_config is None else runner_of(model)


def check(config: dict[str, Any], folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    module = module_of(folder)
    runner = None if module is None else own_runner(folder, config)
    if module is None or runner is None:
        return
    for row, token_ids in rows_of_trees(runner, random_tokens(), 2):
        with torch.inference_mode():
            expected = module(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0, -1]
        difference = float((row - expected).norm() / expected.norm())
        assert difference < _MOST_DIFFERENCE, (folder.name, config)


def test_some_changed_settings_are_computed_as_transformers_does(tmp_path: Path) -> None:
    for seed in range(40):
        check(changed_settings(seed), tmp_path / str(seed))


def test_a_window_that_is_left_out_is_the_one_that_transformers_takes(tmp_path: Path) -> None:
    """Whether layers without a window have positions hangs on whether there is one at all."""
    config = copy.deepcopy(CONFIGS["exaone4"].to_dict())
    del config["sliding_window"]
    config |= {"layer_types": ["full_attention"] * config["num_hidden_layers"]}
    check(config, tmp_path / "exaone4")


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, NUM_INPUTS, 100))
def test_many_changed_settings_are_computed_as_transformers_does(
    start: int, tmp_path: Path
) -> None:
    for seed in range(start, start + 100):
        check(changed_settings(seed), tmp_path / str(seed))


@pytest.mark.parametrize(
    ("family", "changed"),
    [("gemma", {"hidden_act": "gelu"}), ("gemma3_text", {"attn_logit_softcapping": 2.0})],
)
def test_values_that_classes_read_in_their_own_way_are_read_so(
    family: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    config = {**CONFIGS[family].to_dict(), **changed}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    module = module_of(tmp_path)
    runner = own_runner(tmp_path, config)
    if runner is None:
        assert family == "gemma3_text", "transformers' module leaves the cap aside"
        return
    row, token_ids = next(rows_of_trees(runner, random_tokens()))
    assert module is not None
    with torch.inference_mode():
        expected = module(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0, -1]
    assert float((row - expected).norm() / expected.norm()) < _MOST_DIFFERENCE
