"""transformers' `generate` in a process of its own, which talks as `workers/loop.py` does.

It needs this project, for what it reads is the very model that ours is.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from core.benchmark.outside.transformers_generate import TransformersRunner, transformers_runners
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.errors import SpecDecodesError
from core.loading.loading import LoadedModel, load_model
from core.models.shipped import shipped_folder
from core.modes.settings import SELF, SHIPPED_HEAD
from core.runtime.strict_json import dumps


def main() -> None:
    """Answers until the input ends."""
    settings = json.loads(sys.stdin.readline())
    try:
        runners = _runners(settings)
    except (SpecDecodesError, OSError) as error:
        print(dumps({"error": str(error)}), flush=True)
        return
    print(dumps({"about": "", "labels": [runner.label for runner in runners]}), flush=True)
    for line in sys.stdin:
        print(dumps(_answer(runners, json.loads(line))), flush=True)


def _runners(settings: dict[str, Any]) -> list[TransformersRunner]:
    torch.set_num_threads(settings["num_threads"])
    config = RunConfig.from_dict(settings["config"])
    target = _with_module(config.target, settings["dtype"], config.device)
    assistant = _assistant(target, settings["draft"])
    return transformers_runners(settings["label"], target, config, assistant)


def _assistant(target: LoadedModel, name: str | None) -> LoadedModel | None:
    """The named draft model, else the one shipped for the target: the one that sd-classic takes."""
    if name in (None, SELF, SHIPPED_HEAD):
        folder = shipped_folder(target.source_key, "draft")
        if folder is None:
            return None
        name = str(folder)
    return _with_module(name, str(target.dtype).removeprefix("torch."), target.device.type)


def _with_module(name: str, dtype: str, device: str) -> LoadedModel:
    """A model with transformers' module alone."""
    model = load_model(name, dtype=dtype, device=device, weights="full", compile=False)
    return replace(model, given_module=model.module, stack=None)


def _answer(runners: Sequence[TransformersRunner], asked: dict[str, Any]) -> dict[str, Any]:
    answer = runners[asked["way"]].answer(Prompt("", asked["prompt"]))
    if answer.error is not None:
        return {"error": answer.error}
    times_s = [item.t_s for item in answer.emissions for _ in range(item.num_tokens)]
    return {"token_ids": answer.token_ids, "text": answer.text, "times_s": times_s}


if __name__ == "__main__":
    main()
