"""What a configuration says is computed as transformers computes it, or the model is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    GraniteSWAConfig,
    LlamaConfig,
    MistralConfig,
    PersimmonConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from core.engine import Engine
from core.errors import ModelUnavailableError
from core.families.description import reason_against
from core.loading.loading import load_model
from tests.core.models.every_mode import check_every_mode, random_module, small_configuration
from tests.core.models.folders import change_config, ids_of, oracle_ids, save_module

_SIZES: dict[str, Any] = {
    "vocab_size": 192,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_WINDOW = 8
_ROPE = {"rope_theta": 10_000.0}
_LENGTH = {"original_max_position_embeddings": 64}

LLAMA_SHAPED = {
    "plain": LlamaConfig(**_SIZES),
    "biases": LlamaConfig(**_SIZES, attention_bias=True, mlp_bias=True),
    "wide heads": LlamaConfig(**_SIZES, head_dim=24),
    "linear": LlamaConfig(**_SIZES, rope_parameters={**_ROPE, "rope_type": "linear", "factor": 4.0}),
    "yarn": LlamaConfig(
        **_SIZES, rope_parameters={**_ROPE, **_LENGTH, "rope_type": "yarn", "factor": 8.0}
    ),
    "yarn, all set": Qwen2Config(
        **_SIZES,
        rope_parameters={
            **_ROPE, **_LENGTH, "rope_type": "yarn", "factor": 8.0, "beta_fast": 16.0, "beta_slow": 2.0,
            "attention_factor": 1.3,
        },
    ),
    "llama3": LlamaConfig(
        **_SIZES,
        rope_parameters={
            **_ROPE, **_LENGTH, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
        },
    ),
    "a window that hides nothing": MistralConfig(**_SIZES, sliding_window=512),
    "a window that is not used": Qwen2Config(**_SIZES, sliding_window=_WINDOW),
    "norms and biases": Qwen3Config(**_SIZES, head_dim=16, attention_bias=True),
}  # fmt: skip
OWN = {
    **LLAMA_SHAPED,
    "another activation": LlamaConfig(**_SIZES, hidden_act="gelu"),
    "a window in all layers": MistralConfig(**_SIZES, sliding_window=_WINDOW),
    "a window in some layers": Qwen2Config(
        **_SIZES, sliding_window=_WINDOW, use_sliding_window=True, max_window_layers=2
    ),
}
BY_TRANSFORMERS = {
    "dynamic": LlamaConfig(
        **_SIZES, rope_parameters={**_ROPE, "rope_type": "dynamic", "factor": 2.0}
    ),
    "an unknown setting": LlamaConfig(**_SIZES, logit_scale=0.5),
    "a family without a table": PersimmonConfig(**_SIZES),
    "windows": GraniteSWAConfig(**_SIZES, sliding_window=_WINDOW, pad_token_id=0),
}  # fmt: skip
# Neither our own forward nor masks will do; drafts are chains, but for latent attention.
CHAINS = ("bloom", "mamba", "rwkv", "falcon_h1", "minimax")


def saved(folder: Path, config: PreTrainedConfig) -> str:
    return save_module(folder, random_module(config))


@pytest.mark.parametrize("case", OWN)
def test_what_our_own_forward_honours_gives_the_text_of_transformers(
    case: str, tmp_path: Path
) -> None:
    name = saved(tmp_path, OWN[case])
    model = load_model(name, dtype="float32", compile=False)
    assert model.model_config is not None and Engine(model).forward_name == "lean"
    assert ids_of(name) == ids_of(name, "ngram") == oracle_ids(name)


@pytest.mark.parametrize("case", BY_TRANSFORMERS)
def test_everything_else_is_computed_by_transformers_and_drafts_change_nothing(
    case: str, tmp_path: Path
) -> None:
    assert reason_against(BY_TRANSFORMERS[case].to_dict()) is not None
    name = saved(tmp_path, BY_TRANSFORMERS[case])
    assert Engine(load_model(name, dtype="float32")).forward_name == "transformers"
    assert ids_of(name) == ids_of(name, "ngram") == oracle_ids(name)


@pytest.mark.parametrize("kind", ["deepseek_v3", *CHAINS])
def test_a_model_of_another_kind_gives_its_text_in_every_mode(
    kind: str, tmp_path: Path, tiny_home: Path
) -> None:
    name = saved(tmp_path, small_configuration(kind))
    engine = Engine(load_model(name, dtype="float32", compile=False))
    assert engine.forward_name == "transformers"
    assert engine.can_branch == (kind not in CHAINS)
    check_every_mode(engine, oracle_ids(name), str(tiny_home / "draft"))


def test_a_model_without_a_text_of_its_own_is_refused_by_its_type(tmp_path: Path) -> None:
    """Bert sees what stands behind a token as well."""
    name = saved(tmp_path, small_configuration("bert"))
    with pytest.raises(ModelUnavailableError) as told:
        load_model(name, dtype="float32", compile=False)
    message = str(told.value)
    assert "of the type bert, and" in message
    assert "\n" not in message and message.endswith(
        "give a model of another type, such as Llama, Mistral, Qwen, Gemma or Phi."
    )


def test_a_rotation_that_changes_with_the_length_ends_the_context_before_it_does(
    tmp_path: Path,
) -> None:
    rope = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "factor": 4.0}
    config = LlamaConfig(
        **_SIZES, rope_parameters={**_ROPE, "rope_type": "longrope", **_LENGTH, **rope}
    )
    config.rope_parameters["original_max_position_embeddings"] = 128
    name = saved(tmp_path, config)
    assert load_model(name, dtype="float32", compile=False).context_limit == 128
    assert ids_of(name) == ids_of(name, "ngram") == oracle_ids(name)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"layer_types": ["full_attention"] * 3}, "must be equal to the number of `layer_types`"),
        ({"head_dim": 0}, "says that head_dim is 0"),
        ({"quantization_config": {}}, "its weights are quantized"),
        ({"rms_norm_eps": 1}, "'rms_norm_eps' expected float, got int (value: 1)"),
        ({"rope_parameters": 10**400}, "rope_parameters"),
        ({"eos_token_id": "end"}, "'eos_token_id'"),
        ({"eos_token_id": [180, "end"]}, "'eos_token_id'"),
        ({"eos_token_id": [None]}, "'eos_token_id'"),
        ({"eos_token_id": True}, "'eos_token_id'"),
        ({"mlp_bias": 0.0}, "'mlp_bias'"),
        ({"attention_bias": 0}, "'attention_bias'"),
        ({"sliding_window": 512.0, "model_type": "mistral"}, "sliding_window is 512.0"),
        ({"sliding_window": "8"}, "sliding_window is '8'"),
        ({"rms_norm_eps": "1e-5"}, "'rms_norm_eps' expected float, got str (value: '1e-5')"),
    ],
)
def test_a_configuration_that_transformers_cannot_read_is_refused_with_the_reason(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    name = saved(tmp_path, LLAMA_SHAPED["plain"])
    change_config(tmp_path, **changed)
    with pytest.raises((StrictDataclassError, ArithmeticError, TypeError, ValueError)):
        oracle_ids(name)
    with pytest.raises(ModelUnavailableError) as told:
        load_model(name, dtype="float32", compile=False)
    message = str(told.value)
    assert words in message and "\n" not in message and len(message) < 600


@pytest.mark.parametrize("value", ["end", [180, "end"], [[180]], 1.5, True])
def test_ends_that_are_no_token_ids_get_a_sentence(value: object, tmp_path: Path) -> None:
    name = saved(tmp_path, LLAMA_SHAPED["plain"])
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    with pytest.raises(ModelUnavailableError) as told:
        load_model(name, dtype="float32", compile=False)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"partial_rotary_factor": 0.5}, "only a part of each head"),
        ({"rope_parameters": {**_ROPE, "rope_type": "default", "odd": 1}}, "the setting odd"),
        ({"rope_parameters": {"full_attention": _ROPE}}, "the setting full_attention"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "of the type dynamic"),
        ({"layer_types": [*["full_attention"] * 3, "odd"]}, "of the kind odd"),
        ({"layer_types": ["full_attention"] * 3}, "it tells the kinds of 3 layers"),
        ({"quantization_config": {}}, "sets quantization_config"),
        ({"sliding_window": "512"}, "sliding_window is of the type str"),
        ({"mlp_bias": 0}, "mlp_bias is of the type int"),
        ({"sliding_window": 8}, "sets sliding_window"),
        ({"attention_multiplier": 0.5}, "sets attention_multiplier"),
        ({"hidden_act": "tanh"}, "its activation is tanh"),
        ({"model_type": "codegen"}, "codegen is not one of"),
        ({"new_thing": 0}, "sets new_thing"),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_honoured_is_named(changed: dict[str, Any], reason: str) -> None:
    config = LLAMA_SHAPED["plain"].to_dict()
    assert reason_against(config) is None
    assert reason in str(reason_against({**config, **changed}))


@pytest.mark.parametrize("neutral", [None, False, "", [], {}])
def test_an_unknown_setting_that_is_off_changes_nothing(neutral: object) -> None:
    assert reason_against({**LLAMA_SHAPED["plain"].to_dict(), "new_thing": neutral}) is None
