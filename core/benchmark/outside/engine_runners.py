"""Starts the other programs of a comparison, each on our target and questions."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from core.benchmark.outside.engines import OutsideEngine
from core.benchmark.outside.llama_cli import LlamaCliRunner
from core.benchmark.outside.llama_cpp_python import llama_cpp_runners
from core.benchmark.outside.servers import server_runner
from core.benchmark.outside.transformers_generate import transformers_runners
from core.benchmark.runners import Runner
from core.config import RunConfig
from core.loading.loading import LoadedModel, load_model
from core.models.shipped import shipped_folder
from core.modes.settings import SELF, SHIPPED_HEAD
from core.runtime.storage import Progress


def outside_runners(
    engines: Sequence[OutsideEngine],
    target: LoadedModel,
    config: RunConfig,
    draft: str | None,
    progress: Progress,
) -> list[Runner]:
    """The runners of all engines under the settings of plain decoding, `config`.

    Raises InvalidSettingError for one that is not installed or cannot run the target.
    """
    counts = Counter(engine.name for engine in engines)
    runners: list[Runner] = []
    for engine in engines:
        name, where = engine.name, engine.where
        label = name if counts[name] == 1 else engine.text
        progress(f"starting {label}", 0, 0)
        if name == "transformers":
            module_target = _in_dtype(target, where)
            assistant = _assistant(module_target, draft, progress)
            runners += transformers_runners(
                label,
                module_target,
                config,
                assistant,
                is_our_dtype=module_target.dtype == target.dtype,
            )
        elif name == "llama-cpp":
            runners += llama_cpp_runners(label, where or sys.executable, target, config)
        elif name == "llama-cli":
            runners.append(LlamaCliRunner(label, where, target, config))
        else:
            runners.append(server_runner(name, label, where, target, config, progress))
    return runners


def _in_dtype(target: LoadedModel, dtype: str | None) -> LoadedModel:
    """The target as transformers is to compute it; ours may compute in another format."""
    if dtype is None:
        return target
    return replace(target, dtype=getattr(torch, dtype), given_module=None)


def _assistant(target: LoadedModel, name: str | None, progress: Progress) -> LoadedModel | None:
    """The named draft model, else the one shipped for the target: the one that sd-classic takes."""
    if name in (None, SELF, SHIPPED_HEAD):
        folder = shipped_folder(target.source_key, "draft")
        if folder is None:
            return None
        name = str(folder)
    assert name is not None
    dtype = str(target.dtype).removeprefix("torch.")
    return load_model(
        name, dtype=dtype, device=target.device.type, compile=False, progress=progress
    )
