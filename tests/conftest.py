"""Fixtures that several rooms' tests share."""

import os
from collections.abc import Sequence
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from core.config import RunConfig
from core.drafters.suffix_memory import SuffixMemory
from core.engine import Engine
from core.loading.loading import LoadedModel, load_model
from core.trace.file import Trace

NUM_NEW_TOKENS = 128
pytest_plugins = ("tests.chromium", "tests.compiler")

# Tests speak to this machine alone, and some clients fail where a proxy is of a kind they lack.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

# A busy machine is no failure, and a run of the tests can be repeated.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")


class FileScheduling(LoadFileScheduling):
    """Where tests run in several processes: those of a file in one, for they share what they load, and
    all that drive a browser in one, for two browsers at once would wait for each other."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return "browser" if "browser" in scope else scope


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling:
    return FileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that drive a browser first: together they take the longest."""
    items.sort(key=lambda item: "browser" not in item.nodeid.split("::")[0])


@pytest.fixture(scope="session")
def default_model() -> LoadedModel:
    """The embedded default model as the product loads it, but in float32 on every machine."""
    return load_model("smollm2-135m", dtype="float32")


@pytest.fixture(scope="session")
def default_engine(default_model: LoadedModel) -> Engine:
    return Engine(default_model)


def run_trace(
    engine: Engine, text: str, config: RunConfig, memory: SuffixMemory | None = None
) -> Trace:
    """The whole trace of an answer to one user message."""
    prompt = engine.chat_prompt([{"role": "user", "content": text}])
    return Trace(list(engine.run(prompt, config, memory=memory)))


class PlainAnswers:
    """Token ids that plain decoding gives for prompts, each computed once for each sampling."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._known: dict[str, list[int]] = {}

    def __call__(self, prompts: Sequence[str], sampling: dict[str, object]) -> list[list[int]]:
        config = RunConfig.from_dict(
            {"max_new_tokens": NUM_NEW_TOKENS, "sampling": sampling, "trace_top_k": 0}
        )
        for text in prompts:
            key = f"{sampling} {text}"
            if key not in self._known:
                self._known[key] = run_trace(self._engine, text, config).token_ids
        return [self._known[f"{sampling} {text}"] for text in prompts]


@pytest.fixture(scope="session")
def plain_answers(default_engine: Engine) -> PlainAnswers:
    return PlainAnswers(default_engine)
