"""Shape-invariant execution of the embedded default model in bf16."""

from typing import Any

import pytest
import torch

from core.config import RunConfig
from core.engine import Engine
from core.loading.loading import load_model
from tests.conftest import run_trace
from tests.prompts import PROMPTS

pytestmark = pytest.mark.slow

NUM_TOKENS = 24
CHAIN = {"fixed_size": True, "branching": 1, "depth": 6}
TREE = {"fixed_size": True, "branching": 3, "depth": 4, "num_nodes": 24}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_model("smollm2-135m", dtype="bfloat16"))


def config_of(mode: str, **settings: Any) -> RunConfig:
    return RunConfig.from_dict(
        {
            "mode": mode,
            "invariant": True,
            "max_new_tokens": NUM_TOKENS,
            "trace_top_k": 0,
            **settings,
        }
    )


def committed_cache(engine: Engine) -> torch.Tensor:
    """Keys and values of the last shape-invariant run."""
    assert engine._invariant is not None
    cache = engine._invariant.cache
    return cache.storage[..., : cache.length, :].clone()


@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
def test_drafts_by_the_model_itself_are_all_accepted_and_the_cache_is_plain_decodings(
    shape: dict[str, Any], engine: Engine
) -> None:
    modes = {
        "share-sd": config_of("share-sd", drafter={**shape, "bits": 16}),
        "share-sd in 4 bits": config_of("share-sd", drafter={**shape, "bits": 4}),
        "sd-classic": config_of("sd-classic", drafter=shape, draft="smollm2-135m"),
    }
    for text in PROMPTS[:1]:
        engine.forget()
        plain = run_trace(engine, text, config_of("naive"))
        expected = committed_cache(engine)
        for name, config in modes.items():
            engine.forget()
            trace = run_trace(engine, text, config)
            assert trace.token_ids == plain.token_ids, name
            assert "4 bits" in name or trace.stats.acceptance_rate == 1.0, name
            length = min(expected.shape[-2], committed_cache(engine).shape[-2])
            assert torch.equal(committed_cache(engine)[..., :length, :], expected[..., :length, :])
