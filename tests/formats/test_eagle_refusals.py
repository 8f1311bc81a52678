"""What of a published head cannot be computed rightly is refused by its name, before anything runs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.drafters.eagle_loading import load_head
from core.errors import DrafterUnavailableError
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel
from tests.formats.published import HEADS, Change, load_target, setting, tensor, write_changed

IDS = "eagle_aux_hidden_state_layer_ids"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_target(tmp_path_factory.mktemp("formats") / "target", compile=False)


def load_changed(target: LoadedModel, folder: Path, source: str, change: Change) -> Any:
    written = write_changed(folder, HEADS / source, change)
    return load_head(written, target, runner_of(target).forward)


def eagle_config(**changed: Any) -> Change:
    return setting(eagle_config=changed)


@pytest.mark.parametrize(
    ("source", "change", "told"),
    [
        ("safeailab-3", setting(attention_sink=True), "sets attention_sink, which"),
        ("safeailab-3", setting(quantization_config={"quant_method": "fp8"}), "is quantized"),
        ("safeailab-3", setting(model_type="deepseek_v3"), "layers of the type 'deepseek_v3'"),
        ("safeailab-3", setting(hidden_act="mish"), "its activation is mish"),
        (
            "safeailab-3", setting(rope_scaling={"type": "dynamic", "factor": 2.0}),
            "rotary positions are of the type dynamic",
        ),
        ("safeailab-3", setting(norm_output=False), "norm_output false, which leaves out"),
        ("safeailab-3", setting(fc_norm="yes"), "fc_norm 'yes', which is neither true nor false"),
        ("safeailab-3", setting(fc_norm=True, norm_before_fc=True), "norms what it fuses twice"),
        ("safeailab-3", setting(fc_norm=True), r"fc_norm\.0\.weight has nothing"),
        ("safeailab-3", setting(draft_vocab_size=65), "64 rows and draft_vocab_size 65"),
        ("safeailab-3", setting(**{IDS: [2, 4, 9]}), r"reads layers \[2, 4, 9\] and the target has 8"),
        ("safeailab-3", setting(**{IDS: "2, 4, 5"}), "which are no numbers of layers"),
        ("safeailab-3", setting(num_hidden_layers=2), r"layers\.1\.input_layernorm\.weight has nothing"),
        ("safeailab-3", setting(target_hidden_size=64), "target_hidden_size 64"),
        ("model-optimizer", eagle_config(use_mtp_layernorm=True), "sets use_mtp_layernorm to True"),
        ("model-optimizer", eagle_config(next_layer_regular=False), "sets next_layer_regular to False"),
        ("model-optimizer", eagle_config(parallel_draft_step=4), "sets parallel_draft_step to 4"),
        ("model-optimizer", eagle_config(use_aux_hidden_state=False), "use_aux_hidden_state to False"),
        ("speculators-plain", setting(speculators_model_type="peagle"), "pass and has no mask_hidden"),
        ("speculators-plain", setting(speculators_model_type="dflash"), "not eagle3 or peagle"),
        ("speculators-plain", setting(block_size=8), "sets block_size, which is not known"),
        ("speculators-plain", setting(transformer_layer_config=None), "no transformer_layer_config"),
        (
            "safeailab-3", tensor("mask_hidden", lambda have: torch.zeros(1, 1, 96)),
            "has mask_token_id None, which is no id of a token",
        ),
        (
            "safeailab-3", tensor("midlayer.self_attn.q_norm.weight", lambda have: torch.ones(8)),
            r"holds layers\.0\.self_attn\.q_norm\.weight, which is not known",
        ),
        (
            "safeailab-3",
            tensor("model.norm.weight", lambda have: have["norm.weight"].clone()),
            r"holds norm\.weight twice",
        ),
        (
            "safeailab-3", tensor("fc.weight", lambda have: have["fc.weight"].to(torch.int8)),
            r"holds fc\.weight as torch\.int8",
        ),
        (
            "safeailab-3", tensor("d2t", lambda have: torch.cat([have["d2t"][:1] + 3, have["d2t"][1:]])),
            "d2t has two rows for one id",
        ),
        ("safeailab-3", tensor("d2t", lambda have: have["d2t"] + 3), "outside of the target's"),
        ("safeailab-3", tensor("d2t", lambda have: None), "64 outputs and no d2t"),
        ("safeailab-3-own-width", tensor("embed_tokens.weight", lambda have: None), "has nothing"),
        (
            "speculators-3.1", tensor("layers.0.self_attn.k_proj.bias", lambda have: None),
            r"k_proj\.bias has nothing",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_by_its_name(
    source: str, change: Change, told: str, target: LoadedModel, tmp_path: Path
) -> None:
    with pytest.raises(DrafterUnavailableError, match=told) as refused:
        load_changed(target, tmp_path / "head", source, change)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({IDS: [1, 4, 8]}, (1, 4, 8)),
        ({"eagle_config": {IDS: [1, 4, 7]}}, (2, 5, 8)),
        ({"eagle_config": {IDS: [1, 4, 8]}}, (1, 4, 8)),
        ({IDS: None}, (2, 4, 5)),
        ({IDS: [0, 1, 2], "eagle_config": {IDS: [5, 6, 7]}}, (0, 1, 2)),
    ],
)
def test_numbers_of_layers_mean_what_their_writers_mean(
    told: dict[str, Any], expected: tuple[int, ...], target: LoadedModel, tmp_path: Path
) -> None:
    head = load_changed(target, tmp_path / "head", "safeailab-3", setting(**told))
    assert head.weights.state_layers == expected


def test_a_shipped_copy_of_the_targets_embedding_takes_no_memory(
    target: LoadedModel, tmp_path: Path
) -> None:
    stack = runner_of(target).forward.stack
    copied = tensor("embed_tokens.weight", lambda have: stack.embedding.weight.clone())
    plain = load_changed(target, tmp_path / "plain", "safeailab-3", setting())
    head = load_changed(target, tmp_path / "copied", "safeailab-3", copied)
    assert head.stack.embedding is stack.embedding
    assert head.weights.num_bytes == plain.weights.num_bytes
