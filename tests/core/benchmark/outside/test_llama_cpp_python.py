"""What is told where llama.cpp cannot be compared with."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.benchmark.outside.llama_cpp_python import LlamaCppRunner
from core.config import RunConfig, SamplingConfig
from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel, load_model


@pytest.fixture(scope="module")
def target(tiny_home: Path) -> LoadedModel:
    return load_model(str(tiny_home / "target"), dtype="float32", compile=False)


def runner(target: LoadedModel, python: str, config: RunConfig) -> LlamaCppRunner:
    return LlamaCppRunner("llama-cpp", python, target, config, prompt_lookup=False)


def with_gguf(target: LoadedModel) -> LoadedModel:
    return replace(target, source=replace(target.source, gguf=Path("model.gguf")))


def test_a_target_that_is_no_gguf_is_refused(target: LoadedModel) -> None:
    with pytest.raises(InvalidSettingError, match=r"is no GGUF file"):
        runner(target, sys.executable, RunConfig())


def test_sampling_is_refused(target: LoadedModel) -> None:
    sampled = RunConfig(sampling=SamplingConfig(do_sample=True))
    with pytest.raises(InvalidSettingError, match=r"greedy settings alone"):
        runner(with_gguf(target), sys.executable, sampled)


@pytest.mark.parametrize(
    ("python", "why"), [("no-such-python", "No such file"), (sys.executable, "llama_cpp")]
)
def test_a_python_without_llama_cpp_is_told(target: LoadedModel, python: str, why: str) -> None:
    with pytest.raises(InvalidSettingError, match=rf"cannot run llama.cpp \(.*{why}.*\); give"):
        runner(with_gguf(target), python, RunConfig())
