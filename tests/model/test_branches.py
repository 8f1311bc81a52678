"""Branches on the default model: the parent's own token gives the parent, in every kind of mode."""

import pytest

from core.config import RunConfig
from core.engine import Engine
from core.trace.events import RunFailed, RunStarted, Verified
from core.trace.file import Trace
from core.trace.fork import fork_of
from tests.conftest import run_trace

pytestmark = pytest.mark.model

QUESTION = "Write one sentence about a cat at sea."
PLACE = 9


def branch(engine: Engine, parent: Trace, token_id: int, mode: str) -> list[int]:
    started = parent.first(RunStarted)
    assert started is not None
    config = RunConfig.from_dict({**started.config, "mode": mode, "drafter": None})
    prompt = engine.fork_prompt(fork_of(parent, PLACE, token_id))
    trace = Trace(list(engine.run(prompt, config)))
    assert trace.first(RunFailed) is None
    return trace.token_ids


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_every_mode_goes_on_as_the_parent_did_and_the_same_way_from_another_token(
    default_engine: Engine, temperature: float
) -> None:
    sampling = {"temperature": temperature, "repetition_penalty": 1.1, "seed": 3}
    config = RunConfig.from_dict({"mode": "naive", "max_new_tokens": 24, "sampling": sampling})
    parent = run_trace(default_engine, QUESTION, config)
    own = parent.token_ids[PLACE]
    best = list(parent.of_kind(Verified))[PLACE].top_k_token_ids[0]
    other = next(token_id for token_id in best if token_id != own)
    others = []
    for mode in ("naive", "ngram", "hybrid", "sd-eagle"):
        assert branch(default_engine, parent, own, mode) == parent.token_ids
        others.append(branch(default_engine, parent, other, mode))
    assert others == others[:1] * 4
    assert others[0][: PLACE + 1] == [*parent.token_ids[:PLACE], other]
