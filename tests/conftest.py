"""Fixtures that several rooms' tests share."""

from collections.abc import Callable

import hypothesis
import pytest

from core.config import RunConfig
from core.engine import Engine
from core.models.loading import LoadedModel, load_model
from core.trace import Trace
from tests.prompts import PROMPTS

NUM_NEW_TOKENS = 128
pytest_plugins = ("tests.chromium",)

# A busy machine is no failure, and a run of the tests can be repeated.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session")
def default_model() -> LoadedModel:
    """The embedded default model in float32, in which greedy texts are equal to the token."""
    return load_model("smollm2-135m", dtype="float32")


@pytest.fixture(scope="session")
def default_engine(default_model: LoadedModel) -> Engine:
    return Engine(default_model)


def run_trace(engine: Engine, text: str, config: RunConfig) -> Trace:
    """The whole trace of an answer to one user message."""
    prompt = engine.chat_prompt([{"role": "user", "content": text}])
    return Trace(list(engine.run(prompt, config)))


AnswersOf = Callable[[dict[str, object]], list[list[int]]]


@pytest.fixture(scope="session")
def plain_answers(default_engine: Engine) -> AnswersOf:
    """Token ids that plain decoding gives for all prompts, computed once for each sampling."""
    known: dict[str, list[list[int]]] = {}

    def answers_of(sampling: dict[str, object]) -> list[list[int]]:
        key = repr(sorted(sampling.items()))
        if key not in known:
            config = RunConfig.from_dict(
                {"max_new_tokens": NUM_NEW_TOKENS, "sampling": sampling, "trace_top_k": 0}
            )
            known[key] = [run_trace(default_engine, text, config).token_ids for text in PROMPTS]
        return known[key]

    return answers_of
