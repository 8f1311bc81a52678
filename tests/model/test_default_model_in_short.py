"""The main job on the embedded default model in float32, in a few tokens; `slow` has the whole."""

from typing import Any

import pytest
import torch

from core.config import RunConfig
from core.engine import Engine
from core.events import RunFinished
from core.models.loading import LoadedModel
from core.trace import Trace
from tests.conftest import run_trace
from tests.prompts import PROMPTS

pytestmark = pytest.mark.model

NUM_TOKENS = 32
OPEN, QUOTING = PROMPTS[0], PROMPTS[2]
SAMPLED = {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "seed": 11}
MODES: dict[str, dict[str, Any]] = {
    "ngram": {"drafter": {"fixed_size": True, "num_nodes": 8}},
    "layer-skip": {"drafter": {"fixed_size": True, "depth": 3, "layers": ["0-7", "20-29"]}},
    "share-sd": {"drafter": {"fixed_size": True, "depth": 3, "bits": 16}},
}


def trace_of(engine: Engine, text: str, **settings: Any) -> Trace:
    config = RunConfig.from_dict({"max_new_tokens": NUM_TOKENS, **settings})
    return run_trace(engine, text, config)


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_every_mode_gives_the_text_of_plain_decoding(
    default_engine: Engine, sampling: dict[str, object]
) -> None:
    plain = trace_of(default_engine, QUOTING, sampling=sampling)
    for mode, settings in MODES.items():
        drafted = trace_of(default_engine, QUOTING, mode=mode, sampling=sampling, **settings)
        assert drafted.token_ids == plain.token_ids, mode
        assert drafted.stats.num_accepted > 0, mode


def test_a_drafter_that_is_the_target_is_always_right(default_engine: Engine) -> None:
    trace = trace_of(default_engine, OPEN, mode="share-sd", **MODES["share-sd"])
    assert trace.stats.acceptance_rate == 1.0
    assert trace.stats.num_accepted > 10


def test_plain_decoding_gives_the_text_of_transformers(
    default_model: LoadedModel, default_engine: Engine
) -> None:
    prompt = default_engine.chat_prompt([{"role": "user", "content": OPEN}])
    input_ids = torch.tensor([prompt.token_ids])
    output = default_model.module.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        do_sample=False,
        max_new_tokens=NUM_TOKENS,
    )
    expected = output[0, len(prompt.token_ids) :].tolist()
    assert trace_of(default_engine, OPEN).token_ids == expected


def test_an_answer_ends_with_its_end_token_and_says_so(default_engine: Engine) -> None:
    trace = trace_of(default_engine, "Say hello in one word.", max_new_tokens=200)
    finished = trace.first(RunFinished)
    assert finished is not None and finished.reason == "eos"
    assert trace.token_ids[-1] in default_engine.target.eos_token_ids
