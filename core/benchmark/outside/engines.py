"""Other programs by the names of `--with NAME[=WHERE]`, each on our target and questions."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from core.benchmark.outside.llama_cli import LlamaCliRunner
from core.benchmark.outside.llama_cpp_python import llama_cpp_runners
from core.benchmark.outside.servers import server_runner
from core.benchmark.outside.transformers_generate import transformers_runners
from core.benchmark.runners import Runner
from core.config import DTYPES, SELF, SHIPPED_HEAD, RunConfig
from core.errors import InvalidSettingError
from core.models.loading import LoadedModel, load_model
from core.models.shipped import shipped_folder
from core.models.storage import Progress

# What may stand behind each name.
PLACES = {
    "transformers": "DTYPE",
    "llama-cpp": "PYTHON",
    "llama-cli": "PATH",
    "llama-server": "PATH or URL",
    "vllm": "PATH or URL",
    "sglang": "PATH or URL",
}


class OutsideEngine(NamedTuple):
    """A program as it was asked for."""

    name: str
    where: str | None
    """A path, an address or a number format; None takes what is installed, in ours."""

    @property
    def text(self) -> str:
        return self.name if self.where is None else f"{self.name}={self.where}"


def parse_engines(texts: Sequence[str]) -> list[OutsideEngine]:
    """Each of `NAME[=WHERE]` once; raises InvalidSettingError."""
    return [_parse(text) for text in dict.fromkeys(texts)]


def _parse(text: str) -> OutsideEngine:
    name, is_placed, where = text.partition("=")
    if name not in PLACES:
        known = ", ".join(f"{name}[={place}]" for name, place in PLACES.items())
        raise InvalidSettingError(f"there is no engine {name!r} to compare with; give {known}.")
    if is_placed and not where:
        raise InvalidSettingError(
            f"--with {text} cannot be read; give --with {name}={PLACES[name]}."
        )
    if name == "transformers" and where and where not in DTYPES:
        raise InvalidSettingError(
            f"--with {text} names no number format; give transformers with one of "
            f"{', '.join(f'={dtype}' for dtype in DTYPES)}."
        )
    return OutsideEngine(name, where or None)


def outside_runners(
    engines: Sequence[OutsideEngine], target: LoadedModel, config: RunConfig, progress: Progress
) -> list[Runner]:
    """The runners of all engines under the settings of plain decoding.

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
            draft = _assistant(module_target, config, progress)
            runners += transformers_runners(
                label,
                module_target,
                config,
                draft,
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


def _assistant(target: LoadedModel, config: RunConfig, progress: Progress) -> LoadedModel | None:
    """The named draft model, else the one shipped for the target: the one that sd-classic takes."""
    name = config.draft
    if name in (None, SELF, SHIPPED_HEAD):
        folder = shipped_folder(target.source_key, "draft")
        if folder is None:
            return None
        name = str(folder)
    assert name is not None
    dtype = str(target.dtype).removeprefix("torch.")
    return load_model(name, dtype=dtype, device=config.device, compile=False, progress=progress)
