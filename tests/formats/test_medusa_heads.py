"""Heads of Medusa and Hydra draft what their authors' own code drafts with them.

`make_medusa_heads.py` made the folders and says how.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.drafters.medusa_loading import load_medusa
from core.engine import Engine
from core.errors import DrafterUnavailableError
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel
from core.trace.events import Committed, Drafted, RunStarted
from core.trace.file import Trace
from tests.formats.published import HEADS, TOLERANCE, names_in, recorded, trace_of

FOLDERS = Path(__file__).parent / "medusa"
NAMES = names_in(FOLDERS)
CHAIN = {"branching": 1, "depth": 3, "num_nodes": 3, "fixed_size": True}
TREE = {"branching": 3, "depth": 4, "num_nodes": 12, "fixed_size": True}
SAMPLED = {"do_sample": True, "temperature": 1.0, "seed": 4}
Tensors = dict[str, torch.Tensor]


def is_eager(engine: Engine) -> bool:
    return not engine.target.is_compiled


def test_every_form_is_there() -> None:
    assert NAMES == ["hydra", "hydra-prefix", "hydra-ungrounded", "medusa", "medusa-two-layers"]


def assert_drafts_as_recorded(engine: Engine, draft: Path, name: str) -> Trace:
    expected = recorded(FOLDERS / name)
    chain = {"branching": 1, "depth": 8, "num_nodes": 8, "fixed_size": True}
    found = trace_of(engine, expected.prompt, mode="sd-medusa", draft=str(draft), drafter=chain)
    first = next(iter(found.of_kind(Drafted)))
    assert first.token_ids[1:] == expected.drafted
    # Compiled kernels have the heads' weights in 8 bits.
    tolerance = TOLERANCE if is_eager(engine) else 0.03
    assert first.draft_probs[1:] == pytest.approx(expected.probs, abs=tolerance)
    assert found.token_ids == trace_of(engine, expected.prompt).token_ids
    return found


@pytest.mark.parametrize("name", NAMES)
def test_published_heads_draft_as_their_authors_code_does(name: str, engine: Engine) -> None:
    found = assert_drafts_as_recorded(engine, FOLDERS / name, name)
    started = next(iter(found.of_kind(RunStarted)))
    assert started.draft is not None
    assert started.draft["num_heads"] == 3 and started.draft["num_bytes"] > 0
    assert ("Hydra" in started.draft["name"]) == (name in ("hydra", "hydra-prefix"))


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("drafter", [TREE, {"depth": 3}], ids=["tree", "by cost"])
@pytest.mark.parametrize("name", ["medusa", "hydra-prefix"])
def test_trees_and_sizes_by_cost_leave_the_text_as_it_is(
    name: str, drafter: dict, sampling: dict, engine: Engine
) -> None:
    draft = FOLDERS / name
    prompt, settings = recorded(draft).prompt, {"sampling": sampling, "max_new_tokens": 40}
    found = trace_of(
        engine, prompt, mode="sd-medusa", draft=str(draft), drafter=drafter, **settings
    )
    assert found.token_ids == trace_of(engine, prompt, **settings).token_ids
    if drafter is TREE:
        assert found.stats.num_drafted > 100


def test_rejection_draws_from_the_heads(engine: Engine) -> None:
    draft = FOLDERS / "hydra"
    found = trace_of(
        engine, recorded(draft).prompt, mode="sd-medusa", draft=str(draft), drafter=TREE,
        sampling=SAMPLED, accept="rejection",
    )  # fmt: skip
    assert max(len(event.token_ids) for event in found.of_kind(Drafted)) > 5


@pytest.mark.parametrize("name", ["hydra", "hydra-prefix", "medusa"])
def test_a_draft_behind_accepted_tokens_is_that_of_a_prompt_with_them(
    name: str, engine: Engine
) -> None:
    """What the layer in front of the heads has of committed tokens is as of a prompt with them."""
    draft = FOLDERS / name
    settings = {"mode": "sd-medusa", "draft": str(draft), "drafter": CHAIN}
    known = recorded(draft).prompt
    for event in trace_of(engine, known, **settings).events:
        if isinstance(event, Drafted) and len(known) > 15:
            break
        if isinstance(event, Committed):
            known = [*known, *event.token_ids]
    assert isinstance(event, Drafted)
    anew = next(iter(trace_of(engine, known, **settings).of_kind(Drafted)))
    assert anew.token_ids == event.token_ids
    assert anew.draft_probs == pytest.approx(event.draft_probs, abs=TOLERANCE)


def test_runs_side_by_side_have_the_text_of_runs_alone(engine: Engine) -> None:
    """Their drafts are at different depths at the same time, for one has committed more than another."""
    draft = FOLDERS / "hydra-prefix"
    prompts = [recorded(draft).prompt[:count] for count in (12, 3, 7)]
    config = RunConfig.from_dict(
        {"mode": "sd-medusa", "draft": str(draft), "drafter": TREE, "max_new_tokens": 16}
    )
    events: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    for index, event in engine.run_batch([(Prompt("", ids), config) for ids in prompts], 3):
        events[index].append(event)
    for index, prompt in enumerate(prompts):
        alone = trace_of(engine, prompt, mode="sd-medusa", draft=str(draft), drafter=TREE,
                         max_new_tokens=16)  # fmt: skip
        together = Trace(events[index])
        assert together.token_ids == alone.token_ids
        drafts = [list(trace.of_kind(Drafted)) for trace in (together, alone)]
        assert [one.token_ids for one in drafts[0]] == [one.token_ids for one in drafts[1]]


def changed(folder: Path, source: str, change: Callable[[dict[str, Any], Tensors], None]) -> Path:
    """A copy of a folder after a change of its configuration and its tensors."""
    shutil.copytree(FOLDERS / source, folder)
    config = json.loads((folder / "config.json").read_text())
    (path,) = folder.glob("*.pt")
    tensors = torch.load(path, weights_only=True)
    change(config, tensors)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(tensors, path)
    return folder


def as_safetensors(folder: Path, source: str, rename: Callable[[str], str], more: Tensors) -> Path:
    """The same heads in another file, under other names."""
    folder.mkdir()
    shutil.copy(FOLDERS / source / "config.json", folder)
    tensors = torch.load(FOLDERS / source / "medusa_lm_head.pt", weights_only=True)
    named = {rename(name): tensor.clone() for name, tensor in tensors.items()}
    save_file({**named, **more}, folder / "model.safetensors")
    return folder


def test_heads_within_the_checkpoint_of_a_whole_model_are_read(
    engine: Engine, tmp_path: Path
) -> None:
    whole = load_file(HEADS / "target" / "model.safetensors")
    folder = as_safetensors(tmp_path / "whole", "medusa", lambda name: f"medusa_head.{name}", whole)
    told = json.loads((folder / "config.json").read_text())
    target = json.loads((HEADS / "target" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**target, **told}))
    assert_drafts_as_recorded(engine, folder, "medusa")


def test_names_of_vllm_are_known(engine: Engine, tmp_path: Path) -> None:
    def renamed(name: str) -> str:
        head, place, *rest = name.split(".")
        if rest[0] == "linear":
            return f"blocks.{head}.layers.{place}.{rest[1]}"
        return f"lm_heads.{head}.weight"

    folder = as_safetensors(tmp_path / "vllm", "medusa-two-layers", renamed, {})
    config = {"model_type": "medusa", "hidden_size": 32, "vocab_size": 192, "num_heads": 3}
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    assert_drafts_as_recorded(engine, folder, "medusa-two-layers")


def put(**told: Any) -> Callable[[dict[str, Any], Tensors], None]:
    return lambda config, tensors: config.update(told)


def without(name: str) -> Callable[[dict[str, Any], Tensors], None]:
    return lambda config, tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("source", "change", "told"),
    [
        ("medusa", put(medusa_choices="mc_sim"), "sets medusa_choices to 'mc_sim'"),
        ("medusa", put(quantization_config={"quant_method": "fp8"}), "is quantized"),
        ("medusa", put(medusa_num_layers=2), "medusa_num_layers 2, and its heads have other numbers"),
        ("medusa", put(truncated_vocab_size=64), "says truncated_vocab_size 64"),
        ("medusa", without("1.1.weight"), r"1\.output\.weight has nothing"),
        ("medusa", without("1.0.linear.bias"), r"1\.0\.linear\.bias has nothing"),
        ("medusa-two-layers", without("0.1.linear.weight"), r"0\.1\.linear\.weight has nothing"),
        (
            "medusa", lambda config, tensors: [
                tensors.pop(name) for name in list(tensors) if name.startswith("1.")
            ],
            "or not all of them",
        ),
        ("medusa", lambda config, tensors: tensors.clear(), "holds no heads"),
        (
            "medusa", lambda config, tensors: tensors.update({"token_map": torch.arange(64)}),
            "holds token_map, which is not known",
        ),
        ("hydra", put(hydra_head_arch="eagle-attn"), "of the kind 'eagle-attn', not mlp or prefix"),
        ("hydra", put(hydra_head_arch="prefix-mlp"), "which its tensors are not of"),
        ("hydra", put(grounded_heads=False), r"0\.0\.linear\.weight has sizes"),
        ("hydra", put(grounded_heads=1), "grounded_heads 1, which is neither"),
        ("hydra", put(hidden_state_offset=9), "hidden_state_offset 9, and the target 8 layers"),
        ("hydra-prefix", put(grounded_heads=False), "draft without it"),
        ("hydra-prefix", without("prefix_embeding_layer.norm.weight"), r"norm\.weight has nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_by_its_name(
    source: str, change: Any, told: str, target: LoadedModel, tmp_path: Path
) -> None:
    folder = changed(tmp_path / "heads", source, change)
    with pytest.raises(DrafterUnavailableError, match=told) as refused:
        load_medusa(folder, target, runner_of(target).forward)
    assert "\n" not in str(refused.value)


def test_without_a_folder_the_mode_says_what_to_give(engine: Engine) -> None:
    with pytest.raises(
        DrafterUnavailableError, match="give --draft a folder with Medusa or Hydra heads"
    ):
        trace_of(engine, [1, 2, 3], mode="sd-medusa")
