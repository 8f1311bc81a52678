"""Modes on the embedded default model in a few tokens; `slow` has the whole."""

from typing import Any

import pytest

from core.config import RunConfig
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Drafted
from core.trace.file import Trace
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
    "sd-block": {"drafter": {"fixed_size": True, "depth": 4, "branching": 2}},
}
BLOCK = {"mode": "sd-block", "drafter": {"fixed_size": True, "depth": 8}}


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


LAW = {
    "repetition_penalty": 1.15,
    "presence_penalty": 0.3,
    "frequency_penalty": 0.2,
    "logit_bias": {" the": -3, "28": 1},
    "min_new_tokens": 5,
}


@pytest.mark.parametrize(
    "sampling", [LAW, {**SAMPLED, **LAW, "min_p": 0.05}], ids=["greedy", "sampled"]
)
def test_every_mode_keeps_to_penalties_biases_and_stop_strings(
    default_engine: Engine, sampling: dict[str, object]
) -> None:
    plain = trace_of(default_engine, QUOTING, sampling=sampling)
    assert plain.token_ids != trace_of(default_engine, QUOTING).token_ids
    stop = plain.text[40:43]
    cut = trace_of(default_engine, QUOTING, sampling=sampling, stop=[stop])
    assert plain.text.startswith(cut.text) and stop not in cut.text
    for mode in ("ngram", "share-sd"):
        given = {"mode": mode, "sampling": sampling, **MODES[mode]}
        drafted = trace_of(default_engine, QUOTING, **given)
        assert drafted.token_ids == plain.token_ids, mode
        stopped = trace_of(default_engine, QUOTING, stop=[stop], **given)
        assert (stopped.token_ids, stopped.text) == (cut.token_ids, cut.text), mode
    assert drafted.stats.acceptance_rate == 1.0, "it drafts by the same law"


def test_a_drafter_that_is_the_target_is_always_right(default_engine: Engine) -> None:
    trace = trace_of(default_engine, OPEN, mode="share-sd", **MODES["share-sd"])
    assert trace.stats.acceptance_rate == 1.0
    assert trace.stats.num_accepted > 10


def test_torch_and_compiled_kernels_write_the_same_text(default_engine: Engine) -> None:
    eager = Engine(load_model("smollm2-135m", dtype="float32", compile=False))
    drafted = trace_of(eager, QUOTING, mode="ngram", **MODES["ngram"])
    assert drafted.stats.num_accepted > 0
    assert drafted.token_ids == trace_of(default_engine, QUOTING).token_ids
    # The kernels round the block drafter to 8 bits, which moves its probabilities by hundredths.
    blocks = [
        next(iter(trace_of(engine, QUOTING, max_new_tokens=2, **BLOCK).of_kind(Drafted)))
        for engine in (eager, default_engine)
    ]
    assert blocks[0].token_ids[:3] == blocks[1].token_ids[:3]
    assert blocks[0].draft_probs[1:3] == pytest.approx(blocks[1].draft_probs[1:3], abs=0.05)
    assert blocks[0].draft_probs[1:3] != blocks[1].draft_probs[1:3]


def test_a_block_drafter_stands_behind_the_lookup(default_engine: Engine) -> None:
    settings = {"mode": "hybrid", "draft": "block", "drafter": {"fixed_size": True}}
    trace = trace_of(default_engine, OPEN, **settings)
    assert "hybrid: sd-block" in {event.drafter for event in trace.of_kind(Drafted)}
    assert trace.stats.num_accepted > 0
    assert trace.token_ids == trace_of(default_engine, OPEN).token_ids


def test_sequences_side_by_side_have_the_text_that_they_have_alone(default_engine: Engine) -> None:
    modes: list[dict[str, Any]] = [{"mode": "sd-eagle"}, {"mode": "hybrid"}, {"mode": "naive"}]
    chats = [[{"role": "user", "content": text}] for text in (OPEN, QUOTING, PROMPTS[1])]
    prompts = [default_engine.chat_prompt(chat) for chat in chats]
    configs = [
        RunConfig.from_dict({"max_new_tokens": NUM_TOKENS + 5 * place, **mode})
        for place, mode in enumerate(modes)
    ]
    together = [Trace() for _ in modes]
    for index, event in default_engine.run_batch(list(zip(prompts, configs, strict=True)), 3):
        together[index].events.append(event)
    for prompt, config, trace in zip(prompts, configs, together, strict=True):
        plain = RunConfig(max_new_tokens=config.max_new_tokens)
        assert trace.token_ids == Trace(list(default_engine.run(prompt, plain))).token_ids
        assert len(trace.token_ids) > 10
