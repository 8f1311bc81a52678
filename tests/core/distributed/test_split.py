"""A target split over processes gives the ids that it gives in one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.distributed.split_module import read_split_module
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import load_model
from core.models.sources import ModelSource
from tests.core.conftest import PROMPT, run
from tests.core.decoding.test_modes import GREEDY, SAMPLED, TREE
from tests.core.models.every_mode import random_module, small_configuration
from tests.core.models.folders import save_module
from tests.tiny_folder import save_tiny_model

ROOT = Path(__file__).parents[3]


def start(arguments: list[str], num_processes: int) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launch, f"--nproc-per-node={num_processes}", "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def split_answers(
    folder: Path, configs: list[dict[str, Any]], num_processes: int, prompt: str = PROMPT
) -> dict[str, Any]:
    request, answer = folder / "request.json", folder / "answer.json"
    request.write_text(json.dumps({"prompt": prompt, "configs": configs}), encoding="utf-8")
    arguments = ["tests.core.distributed.split_runs", str(request), str(answer)]
    done = start(arguments, num_processes)
    assert answer.exists(), done.stderr
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def test_a_model_whose_layers_keep_a_state_is_not_split(tmp_path: Path) -> None:
    folder = tmp_path / "recurrent"
    save_module(folder, random_module(small_configuration("rwkv")))
    source = ModelSource("recurrent", folder, "folder", None, None, "")
    with pytest.raises(InvalidSettingError, match="keep a state that one process holds"):
        read_split_module(source, torch.float32, 2)


def test_two_processes_give_the_ids_of_one(
    engine_of: Callable[..., Engine], tiny_home: Path, tmp_path: Path
) -> None:
    target, draft = str(tiny_home / "target"), str(tiny_home / "draft")
    modes: list[dict[str, Any]] = [
        {"mode": "naive"},
        {"mode": "ngram"},
        {"mode": "sd-classic", "draft": target, "drafter": TREE},
        {"mode": "hybrid", "draft": draft, "drafter": {**TREE, "min_match": 1}},
    ]
    common = {"target": target, "dtype": "float32", "max_new_tokens": 24}
    samplings = (GREEDY, SAMPLED) * 2
    configs = [
        {**common, **mode, "sampling": sampling}
        for mode, sampling in zip(modes, samplings, strict=True)
    ]
    found = split_answers(tmp_path, configs, 2)
    assert "error" not in found, found
    assert found["forward"] == "transformers, split"
    assert set(found["ends"]) == {"run_finished"}
    engine = engine_of()
    plain = {
        str(sampling): run(engine, sampling=sampling, max_new_tokens=24).token_ids
        for sampling in (GREEDY, SAMPLED)
    }
    expected = [plain[str(config["sampling"])] for config in configs]
    assert found["alone"] == expected and found["together"] == expected
    assert "it is split over several processes" in found["refused"]
    assert found["num_accepted"][2] > 10, "the target as its own draft is accepted"


def source_of(folder: Path) -> ModelSource:
    return ModelSource(folder.name, folder, "folder", None, None, "")


def test_heads_that_cannot_be_shared_are_counted(tiny_home: Path) -> None:
    with pytest.raises(
        InvalidSettingError,
        match="4 heads and 2 key/value heads, which 3 processes cannot share; start 1 or 2",
    ):
        read_split_module(source_of(tiny_home / "target"), torch.float32, 3)


def test_a_model_without_a_plan_is_named(tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    path = tmp_path / "config.json"
    sizes = {"model_type": "gpt2", "n_head": 4, "n_embd": 64, "n_layer": 2, "vocab_size": 192}
    path.write_text(json.dumps(sizes), encoding="utf-8")
    with pytest.raises(InvalidSettingError, match="is gpt2, for which transformers has no plan"):
        read_split_module(source_of(tmp_path), torch.float32, 2)


@pytest.mark.parametrize(
    "settings", [{"weights": "q4"}, {"compile": True}, {"gpu_memory": "2GiB"}], ids=str
)
def test_settings_for_one_process_are_refused(
    settings: dict[str, Any], tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidSettingError, match="is split over 2 processes"):
        load_model(str(tiny_home / "target"), placement="split", **settings)


@pytest.mark.slow
@pytest.mark.model
def test_three_processes_give_the_default_model_s_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPECDECODES_HOME")  # the real cache
    config = {"dtype": "float32", "max_new_tokens": 64}
    prompt = "The capital of France is"
    found = split_answers(tmp_path, [config, {**config, "mode": "ngram"}], 3, prompt)
    engine = Engine(load_model("smollm2-135m", dtype="float32", compile=False))
    expected = run(engine, prompt, max_new_tokens=64).token_ids
    assert found["alone"] == [expected, expected] and found["together"] == [expected, expected]
