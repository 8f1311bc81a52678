"""Runs that look up in earlier answers: the text of plain decoding, in fewer steps, and told as such."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.config import RunConfig
from core.drafters.suffix_memory import SuffixMemory
from core.engine import Engine
from core.errors import InvalidSettingError
from core.trace.events import Committed, Drafted, RunFailed, RunFinished, RunStarted
from core.trace.file import Trace
from tests.core.conftest import PROMPT
from tests.core.decoding.test_modes import GREEDY, SAMPLED

EngineOf = Callable[..., Engine]
NUM_TOKENS = 24
FIXED = {"memory": True, "fixed_size": True}
# Of a tiny random model, text that does not repeat itself: what is found, was remembered.
RUN = {"mode": "ngram", "drafter": {**FIXED, "min_match": 2}, "sampling": SAMPLED}


def remembering(
    engine: Engine, memory: SuffixMemory | None, prompt: str = PROMPT, **settings: Any
) -> Trace:
    config = RunConfig.from_dict({"max_new_tokens": NUM_TOKENS, **settings})
    trace = Trace(list(engine.run(engine.raw_prompt(prompt), config, memory=memory)))
    assert trace.first(RunFailed) is None
    return trace


def plain(engine: Engine, **settings: Any) -> list[int]:
    return remembering(engine, None, **settings).token_ids


def sources(trace: Trace) -> set[str]:
    return {source for event in trace.of_kind(Committed) for source in event.sources}


@pytest.mark.parametrize(
    ("fixed", "branching", "sampling"),
    [
        (True, 1, SAMPLED),
        (True, 3, SAMPLED),
        (True, 3, GREEDY),
        (False, 3, SAMPLED),
        (False, 1, GREEDY),
    ],
)
def test_asked_again_the_text_is_the_same_and_most_of_it_is_remembered(
    fixed: bool, branching: int, sampling: dict[str, Any], engine_of: EngineOf
) -> None:
    engine, memory = engine_of(), SuffixMemory()
    drafter = {"memory": True, "fixed_size": fixed, "branching": branching}
    asked = {"mode": "ngram", "drafter": drafter, "sampling": sampling}
    first = remembering(engine, memory, **asked)
    again = remembering(engine, memory, **asked)
    expected = plain(engine, sampling=sampling)
    assert first.token_ids == expected and again.token_ids == expected
    assert memory.answers == [expected, expected]
    if fixed and sampling is SAMPLED:
        assert again.stats.num_steps < 0.6 * first.stats.num_steps


def test_what_was_remembered_is_a_source_of_its_own(engine_of: EngineOf) -> None:
    engine, memory = engine_of(), SuffixMemory()
    first = remembering(engine, memory, **RUN)
    assert "remembered" not in sources(first)
    again = remembering(engine, memory, **RUN)
    for drafted, committed in zip(again.of_kind(Drafted), again.of_kind(Committed), strict=True):
        assert drafted.drafter in ("ngram", "memory")
        kept = "remembered" if drafted.drafter == "memory" else "accepted"
        assert all(source == kept for source in committed.sources[:-1])
    assert "remembered" in sources(again)


def test_a_trace_says_what_was_in_the_memory(engine_of: EngineOf) -> None:
    engine, memory = engine_of(), SuffixMemory()
    told = []
    for _ in range(3):
        started = remembering(engine, memory, **RUN).first(RunStarted)
        assert started is not None and started.memory is not None
        told.append(started.memory)
    assert [item["num_answers"] for item in told] == [0, 1, 2]
    assert [item["num_tokens"] for item in told] == [0, NUM_TOKENS, 2 * NUM_TOKENS]
    assert len({item["sha256"] for item in told}) == 3
    assert {item["tokenizer"] for item in told} == {memory.tokenizer}
    without = remembering(engine, memory, mode="ngram").first(RunStarted)
    assert without is not None and without.memory is None


def test_hybrid_tells_the_memory_from_lookup_and_model(
    engine_of: EngineOf, tiny_home: Path
) -> None:
    engine, memory = engine_of(), SuffixMemory()
    drafter = {**FIXED, "min_match": 1, "depth": 4}
    asked = {"mode": "hybrid", "drafter": drafter, "draft": str(tiny_home / "draft")}
    asked["sampling"] = SAMPLED
    remembering(engine, memory, **asked)
    again = remembering(engine, memory, **asked)
    assert again.token_ids == plain(engine, sampling=SAMPLED)
    assert {event.drafter for event in again.of_kind(Drafted)} > {"hybrid: memory"}
    assert "remembered" in sources(again)


def test_a_memory_of_anything_leaves_the_text_as_it_is(engine_of: EngineOf) -> None:
    engine, memory = engine_of(), SuffixMemory()
    expected = plain(engine, sampling=SAMPLED)
    for wrong in (expected[::-1], [token_id ^ 1 for token_id in expected], expected[:20] * 3):
        memory.add(wrong)
    assert remembering(engine, memory, **RUN).token_ids == expected


def test_a_mode_that_looks_nothing_up_remembers_nothing(engine_of: EngineOf) -> None:
    memory = SuffixMemory()
    remembering(engine_of(), memory, mode="ngram")
    assert memory.answers == []


def test_an_answer_that_was_stopped_is_remembered_as_far_as_it_went(engine_of: EngineOf) -> None:
    engine, memory = engine_of(), SuffixMemory()
    config = RunConfig.from_dict({"max_new_tokens": NUM_TOKENS, **RUN})
    trace = Trace()
    prompt = engine.raw_prompt(PROMPT)
    for event in engine.run(
        prompt, config, memory=memory, should_stop=lambda: len(trace.token_ids) > 5
    ):
        trace.events.append(event)
    finished = trace.first(RunFinished)
    assert finished is not None and finished.reason == "stopped"
    assert memory.answers == [trace.token_ids]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_sequences_of_a_batch_see_the_answers_that_ended_before_they_began(
    size: int, engine_of: EngineOf
) -> None:
    engine, memory = engine_of(), SuffixMemory()
    config = RunConfig.from_dict({"max_new_tokens": NUM_TOKENS, **RUN})
    traces = [Trace() for _ in range(3)]
    runs = [(engine.raw_prompt(PROMPT), config)] * len(traces)
    for index, event in engine.run_batch(runs, size, memory=memory):
        traces[index].events.append(event)
    expected = plain(engine, sampling=SAMPLED)
    assert [trace.token_ids for trace in traces] == [expected] * 3
    assert memory.answers == [expected] * 3
    seen = num_seen(traces)
    assert seen[:size] == [0] * size and all(count > 0 for count in seen[size:])


def num_seen(traces: Sequence[Trace]) -> list[int]:
    starts = [trace.first(RunStarted) for trace in traces]
    return [start.memory["num_answers"] for start in starts if start and start.memory]


def test_a_memory_of_other_tokens_is_refused(engine_of: EngineOf) -> None:
    memory = SuffixMemory()
    remembering(engine_of(), memory, **RUN)
    with pytest.raises(InvalidSettingError, match="tokens of another tokenizer"):
        remembering(engine_of(name="shifted"), memory, **RUN)
    remembering(engine_of(name="draft"), copy.copy(memory), **RUN)  # another model, the same tokens


def test_a_token_that_the_target_lacks_is_refused(engine_of: EngineOf) -> None:
    memory = SuffixMemory()
    memory.add([1, 10**6])
    with pytest.raises(InvalidSettingError, match="holds token id 1000000, and the target has"):
        remembering(engine_of(), memory, **RUN)


def test_memory_without_any_is_refused(engine_of: EngineOf) -> None:
    with pytest.raises(InvalidSettingError, match="nothing is remembered here between runs"):
        remembering(engine_of(), None, **RUN)
