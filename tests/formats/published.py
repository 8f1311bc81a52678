"""Heads and block drafters as their authors' code wrote them, and runs over the target that they draft
for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from core.config import RunConfig
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.loading.loading import LoadedModel, load_model
from core.trace.file import Trace
from tests.tiny_folder import byte_tokenizer

HEADS, BLOCKS = (Path(__file__).parent / name for name in ("eagle", "block"))
# Other orders of summation change float32 by a few millionths.
TOLERANCE = 5e-5

Tensors = dict[str, torch.Tensor]
Change = Callable[[dict[str, Any], Tensors], None]


class Recorded(NamedTuple):
    """What the authors' code drafted."""

    prompt: list[int]
    drafted: list[int]
    probs: list[float]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "target")


def recorded(folder: Path) -> Recorded:
    return Recorded(**json.loads((folder / "drafted.json").read_text()))


def load_target(folder: Path, *, compile: bool, device: str = "cpu") -> LoadedModel:
    """The target in a new folder, with a tokenizer."""
    shutil.copytree(HEADS / "target", folder)
    byte_tokenizer().save_pretrained(folder)
    return load_model(str(folder), dtype="float32", compile=compile, device=device)


def decide_on_device(engine: Engine) -> None:
    """Nobody decides the steps of its runs, where the drafter has a form for that."""
    engine._graphs = GraphRunnerCache(engine.target.eos_token_ids, compile=False)


def trace_of(engine: Engine, prompt: list[int], **settings: Any) -> Trace:
    config = RunConfig.from_dict({"max_new_tokens": 12, **settings})
    return Trace(list(engine.run(Prompt("", prompt), config)))


def write_changed(folder: Path, source: Path, change: Change) -> Path:
    """A copy whose configuration and tensors were changed in place."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    change(config, tensors)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def setting(**changed: Any) -> Change:
    return lambda config, tensors: config.update(changed)


def tensor(name: str, made: Callable[[Tensors], torch.Tensor | None]) -> Change:
    """Another tensor of a name; None takes it away."""

    def change(config: dict[str, Any], tensors: Tensors) -> None:
        found = made(tensors)
        if found is None:
            del tensors[name]
        else:
            tensors[name] = found

    return change
