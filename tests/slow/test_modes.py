"""Every mode on the embedded default model, in float32: the text of plain decoding."""

from typing import Any

import pytest

from core.config import RunConfig
from core.engine import Engine
from tests.conftest import NUM_NEW_TOKENS, PlainAnswers, run_trace
from tests.prompts import PROMPTS

pytestmark = pytest.mark.slow

CHAIN = {"branching": 1, "depth": 6}
TREE = {"branching": 3, "depth": 5, "num_nodes": 24}
SHAPES = pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
SAMPLED = {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "seed": 11}


def config_of(mode: str, shape: dict[str, Any], **settings: Any) -> RunConfig:
    drafter: dict[str, Any] = {"fixed_size": True, **shape}
    if mode == "layer-skip":
        drafter["layers"] = ["0-7", "20-29"]
    return RunConfig.from_dict(
        {
            "mode": mode,
            "max_new_tokens": NUM_NEW_TOKENS,
            "drafter": drafter,
            "trace_top_k": 0,
            **settings,
        }
    )


@SHAPES
@pytest.mark.parametrize("mode", ["share-sd", "layer-skip", "sd-eagle", "sd-classic", "hybrid"])
def test_a_mode_with_a_model_gives_the_text_of_plain_decoding(
    mode: str, shape: dict[str, Any], default_engine: Engine, plain_answers: PlainAnswers
) -> None:
    config = config_of(mode, shape)
    traces = [run_trace(default_engine, text, config) for text in PROMPTS]
    assert [trace.token_ids for trace in traces] == plain_answers(PROMPTS, {})
    assert sum(trace.stats.num_accepted for trace in traces) > 100


@SHAPES
def test_a_model_that_drafts_for_itself_is_always_right_and_changes_nothing(
    shape: dict[str, Any], default_engine: Engine, plain_answers: PlainAnswers
) -> None:
    config = config_of("sd-classic", shape, draft="smollm2-135m")
    traces = [run_trace(default_engine, text, config) for text in PROMPTS]
    assert [trace.token_ids for trace in traces] == plain_answers(PROMPTS, {})
    assert {trace.stats.acceptance_rate for trace in traces} == {1.0}


@SHAPES
def test_sampling_gives_the_same_text_for_the_same_seed(
    shape: dict[str, Any], default_engine: Engine, plain_answers: PlainAnswers
) -> None:
    config = config_of("share-sd", shape, sampling=SAMPLED)
    traces = [run_trace(default_engine, text, config) for text in PROMPTS]
    assert [trace.token_ids for trace in traces] == plain_answers(PROMPTS, SAMPLED)


LAW = {
    "repetition_penalty": 1.1,
    "presence_penalty": 0.3,
    "frequency_penalty": 0.1,
    "logit_bias": {" the": -1},
    "min_new_tokens": 60,
}


@SHAPES
@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("mode", ["share-sd", "sd-eagle", "sd-classic", "hybrid"])
def test_penalties_and_biases_are_the_law_of_every_mode(
    mode: str,
    sampling: dict[str, Any],
    shape: dict[str, Any],
    default_engine: Engine,
    plain_answers: PlainAnswers,
) -> None:
    law = {**sampling, **LAW, **({"min_p": 0.05} if sampling else {})}
    config = config_of(mode, shape, sampling=law)
    traces = [run_trace(default_engine, text, config) for text in PROMPTS[2:5]]
    assert [trace.token_ids for trace in traces] == plain_answers(PROMPTS[2:5], law)
    assert sum(trace.stats.num_accepted for trace in traces) > 20


def test_the_unquantized_self_is_always_right(default_engine: Engine) -> None:
    config = config_of("share-sd", {**CHAIN, "bits": 16})
    for text in PROMPTS[:5]:
        assert run_trace(default_engine, text, config).stats.acceptance_rate == 1.0


def test_measured_sizes_give_the_text_of_plain_decoding(
    default_engine: Engine, plain_answers: PlainAnswers
) -> None:
    config = config_of("hybrid", {"fixed_size": False, "branching": 2})
    traces = [run_trace(default_engine, text, config) for text in PROMPTS[:8]]
    assert [trace.token_ids for trace in traces] == plain_answers(PROMPTS[:8], {})
