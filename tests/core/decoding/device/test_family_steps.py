"""Steps that the device does alone, of families with windows, norms and caps, on the CPU."""

from pathlib import Path
from typing import Any

import pytest

from core.config import RunConfig
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.file import Trace
from tests.core.backends.cuda.test_forward import DENSE
from tests.core.families.family_configs import random_module
from tests.core.models.folders import PROMPT, oracle_ids, save_module
from tests.eagle_heads import eagle3_head
from tests.tiny_folder import byte_tokenizer

# Windows and caps; a layer that is computed beside the one before; layers without rotation.
IN_SHORT = ("gemma2", "gpt_neox", "smollm3")
TREE = {"fixed_size": True, "depth": 4, "branching": 3, "num_nodes": 20}


def ids_of(engine: Engine, prompt_ids: list[int], **settings: Any) -> list[int]:
    config = RunConfig.from_dict({"max_new_tokens": 24, **settings})
    trace = Trace(list(engine.run(Prompt(PROMPT, prompt_ids), config)))
    assert trace.stats.num_drafted > 0 or config.mode == "naive"
    return trace.token_ids


def prompt_ids() -> list[int]:
    found: list[int] = byte_tokenizer()(PROMPT).input_ids
    return found


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody decides the steps of engines that are made in the test."""
    monkeypatch.setattr(
        "core.engine.make_graph_runner_cache",
        lambda target, forward: GraphRunnerCache(target.eos_token_ids, compile=False),
    )


@pytest.mark.parametrize(
    "family",
    [
        family if family in IN_SHORT else pytest.param(family, marks=pytest.mark.slow)
        for family in DENSE
    ],
)
@pytest.mark.usefixtures("on_device")
def test_every_mode_gives_the_text_of_transformers(family: str, tmp_path: Path) -> None:
    module = random_module(family)
    folder = save_module(tmp_path / "target", module)
    draft = save_module(tmp_path / "draft", random_module(family, seed=1))
    modes: dict[str, dict[str, Any]] = {
        "naive": {},
        "share-sd": {"drafter": {"bits": 4, "group_size": 32, **TREE}},
        "sd-classic": {"draft": draft, "drafter": TREE},
    }
    if family not in ("phi3", "glm4"):  # which rotate otherwise than heads do
        head = eagle3_head(tmp_path / "head", module.config)
        modes["sd-eagle"] = {"draft": head, "drafter": TREE}
    engine = Engine(load_model(folder, dtype="float32", compile=False))
    expected = oracle_ids(folder)
    for mode, settings in modes.items():
        assert ids_of(engine, prompt_ids(), mode=mode, **settings) == expected, mode


@pytest.mark.usefixtures("on_device")
def test_a_draft_model_with_experts_is_asked_by_the_host(tmp_path: Path) -> None:
    folder = save_module(tmp_path / "target", random_module("gemma2"))
    draft = save_module(tmp_path / "draft", random_module("mixtral"))
    engine = Engine(load_model(folder, dtype="float32", compile=False))
    found = ids_of(engine, prompt_ids(), mode="sd-classic", draft=draft, drafter=TREE)
    assert found == oracle_ids(folder)


@pytest.mark.usefixtures("on_device")
def test_a_prompt_goes_on_behind_steps_that_noted_no_positions(tmp_path: Path) -> None:
    """The host noted where a tree's tokens stood in the columns that the device has filled since."""
    folder = save_module(tmp_path, random_module("mistral"))
    engine = Engine(load_model(folder, dtype="float32", compile=False))
    sampling = {"do_sample": True, "temperature": 1.0}
    judged = {"accept": "rejection", "mode": "share-sd", "drafter": TREE, "sampling": sampling}
    ids_of(engine, prompt_ids(), max_new_tokens=6, **judged)
    answer = ids_of(engine, prompt_ids(), max_new_tokens=12)
    longer = [*prompt_ids(), *answer, *prompt_ids()[:3]]
    fresh = Engine(load_model(folder, dtype="float32", compile=False))
    assert ids_of(engine, longer) == ids_of(fresh, longer)
