"""Layers for multi-token prediction draft what transformers' own code drafts with them.

`make_mtp_layers.py` made the folders and says how.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from core.backends.cpu.library import Kernels
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.drafters.mtp import load_mtp
from core.engine import Engine
from core.errors import DrafterUnavailableError, InvalidSettingError
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel, load_model
from core.trace.events import Drafted, RunStarted
from core.trace.file import Trace
from tests.formats.published import (
    TOLERANCE,
    Change,
    load_target,
    names_in,
    recorded,
    setting,
    tensor,
    trace_of,
    write_changed,
)
from tests.tiny_folder import byte_tokenizer, save_tiny_model

FOLDERS = Path(__file__).parent / "mtp"
NAMES = names_in(FOLDERS)
CHAIN = {"branching": 1, "depth": 4, "num_nodes": 4, "fixed_size": True}
TREE = {"branching": 3, "depth": 4, "num_nodes": 12, "fixed_size": True}
SAMPLED = {"do_sample": True, "temperature": 1.0, "seed": 4}


def test_every_form_is_there() -> None:
    assert NAMES == ["deepseek", "mimo", "qwen3-next"]


def assert_drafts_as_recorded(engine: Engine, name: str, draft: Path | None) -> None:
    expected = recorded(FOLDERS / name)
    given = None if draft is None else str(draft)
    found = trace_of(engine, expected.prompt, mode="sd-mtp", draft=given, drafter=CHAIN)
    first = next(iter(found.of_kind(Drafted)))
    assert first.drafter == "sd-mtp"
    # Compiled kernels have the layer's weights in 8 bits.
    count = 1 if engine.target.is_compiled else len(expected.drafted)
    assert first.token_ids[1 : count + 1] == expected.drafted[:count]
    tolerance = 0.03 if engine.target.is_compiled else TOLERANCE
    assert first.draft_probs[1 : count + 1] == pytest.approx(expected.probs[:count], abs=tolerance)
    assert found.token_ids == trace_of(engine, expected.prompt).token_ids


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_of_each_form_drafts_as_transformers_does(name: str, engine: Engine) -> None:
    assert_drafts_as_recorded(engine, name, FOLDERS / name)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_within_the_targets_own_checkpoint_needs_no_name(
    name: str, tmp_path: Path, kernels: Kernels
) -> None:
    folder = tmp_path / "target"
    load_target(folder, compile=False)
    whole = load_file(folder / "model.safetensors")
    more = load_file(FOLDERS / name / "model.safetensors")
    save_file({**whole, **more}, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_bytes((FOLDERS / name / "config.json").read_bytes())
    loaded = load_model(str(folder), dtype="float32", compile=False)
    assert loaded.model_config is not None, "the layer does not stand in the target's way"
    engine = Engine(loaded)
    assert_drafts_as_recorded(engine, name, None)
    started = trace_of(engine, [1, 2, 3], mode="sd-mtp").first(RunStarted)
    assert started is not None and started.draft is not None
    assert started.draft["name"].startswith("layer for multi-token prediction of")


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("drafter", [TREE, {"depth": 3}], ids=["tree", "by cost"])
def test_trees_and_sizes_by_cost_leave_the_text_as_it_is(
    drafter: dict, sampling: dict, engine: Engine
) -> None:
    draft = FOLDERS / "mimo"
    prompt, settings = recorded(draft).prompt, {"sampling": sampling, "max_new_tokens": 30}
    found = trace_of(engine, prompt, mode="sd-mtp", draft=str(draft), drafter=drafter, **settings)
    assert found.token_ids == trace_of(engine, prompt, **settings).token_ids
    if drafter is TREE:
        assert found.stats.num_drafted > 80


def test_runs_side_by_side_have_the_text_of_runs_alone(engine: Engine) -> None:
    draft = FOLDERS / "deepseek"
    prompts = [recorded(draft).prompt[:count] for count in (12, 3, 7)]
    settings = {"mode": "sd-mtp", "draft": str(draft), "drafter": TREE, "max_new_tokens": 12}
    events: dict[int, list] = {0: [], 1: [], 2: []}
    config = RunConfig.from_dict(settings)
    for index, event in engine.run_batch([(Prompt("", ids), config) for ids in prompts], 3):
        events[index].append(event)
    for index, prompt in enumerate(prompts):
        assert Trace(events[index]).token_ids == trace_of(engine, prompt, **settings).token_ids


@pytest.mark.parametrize(
    ("source", "change", "told"),
    [
        ("mimo", setting(quantization_config={"quant_method": "fp8"}), "is quantized"),
        (
            "mimo", tensor("model.mtp_layers.0.hidden_layernorm.weight", lambda have: None),
            r"hidden_layernorm\.weight has nothing",
        ),
        (
            "mimo", tensor("model.mtp_layers.0.self_attn.q_norm.weight", lambda have: torch.ones(8)),
            r"layers\.0\.self_attn\.q_norm\.weight, which is not known",
        ),
        ("qwen3-next", tensor("mtp.fc.weight", lambda have: None), "of no known form"),
        ("qwen3-next", tensor("mtp.fc.weight", lambda have: torch.ones(32, 32)), r"sizes \(32, 32\)"),
        ("deepseek", tensor("model.layers.8.mlp.up_proj.weight", lambda have: None), "up_proj"),
        (
            "deepseek",
            tensor("model.layers.8.eh_proj.weight", lambda have: torch.ones(32, 64, dtype=torch.int8)),
            r"as torch\.int8",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_by_its_name(
    source: str, change: Change, told: str, target: LoadedModel, tmp_path: Path
) -> None:
    folder = write_changed(tmp_path / "layer", FOLDERS / source, change)
    with pytest.raises(DrafterUnavailableError, match=told) as refused:
        load_mtp(folder, target, runner_of(target).forward)
    assert "\n" not in str(refused.value)


def test_a_target_without_such_a_layer_is_told_so(engine: Engine) -> None:
    with pytest.raises(DrafterUnavailableError, match="holds no layer for multi-token prediction"):
        trace_of(engine, [1, 2, 3], mode="sd-mtp")


def test_a_target_that_transformers_computes_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Its states are not had there: so it is for DeepSeek-V3, GLM-4.5 and Qwen3-Next."""
    name = save_tiny_model(tmp_path / "model", "codegen")
    engine = Engine(load_model(name, dtype="float32", compile=False))
    with pytest.raises(InvalidSettingError, match="which our own forward must compute"):
        trace_of(engine, [1, 2, 3], mode="sd-mtp")


def test_mimo_is_computed_as_the_qwen2_that_it_is(tmp_path: Path) -> None:
    """Under a name that transformers does not know."""
    config = Qwen2Config(
        hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
        num_hidden_layers=2, vocab_size=192, max_position_embeddings=512, tie_word_embeddings=False,
        eos_token_id=180,
    )  # fmt: skip
    torch.manual_seed(0)
    engines = []
    for model_type in ("qwen2", "mimo"):
        folder = tmp_path / model_type
        if model_type == "qwen2":
            module = Qwen2ForCausalLM(config)
        module.save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        told = json.loads((folder / "config.json").read_text())
        told |= {"model_type": model_type, "num_nextn_predict_layers": 1, "use_mrope": False}
        told |= {"auto_map": {"AutoConfig": "configuration_mimo.MiMoConfig"}}
        told.pop("layer_types", None)
        (folder / "config.json").write_text(json.dumps(told if model_type == "mimo" else {
            name: value for name, value in told.items() if name not in ("auto_map", "use_mrope")
        }))  # fmt: skip
        engines.append(Engine(load_model(str(folder), dtype="float32", compile=False)))
    qwen2, mimo = (trace_of(engine, [5, 9, 2, 7]) for engine in engines)
    assert mimo.token_ids == qwen2.token_ids
