"""The default model in the file's own 4 bits: the same text in every mode, and nearly the full one's."""

from typing import Any

import pytest
import torch

from core.engine import Engine
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel, load_model
from core.trees.tree import DraftTree
from tests.model.test_modes_in_short import QUOTING, SAMPLED, trace_of
from tests.prompts import PROMPTS

pytestmark = pytest.mark.model

CHAIN: dict[str, Any] = {"fixed_size": True, "depth": 3}
MODES: dict[str, dict[str, Any]] = {
    "ngram": {"fixed_size": True, "num_nodes": 8},
    "sd-classic": {**CHAIN, "branching": 3, "num_nodes": 12},
    "sd-eagle": CHAIN,
    "hybrid": {"fixed_size": True},
}


@pytest.fixture(scope="module")
def target() -> LoadedModel:
    return load_model("smollm2-135m", weights="q4")


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_every_mode_gives_the_text_of_plain_decoding(
    target: LoadedModel, sampling: dict[str, object]
) -> None:
    engine = Engine(target)
    common: dict[str, Any] = {"weights": "q4", "sampling": sampling}
    plain = trace_of(engine, QUOTING, **common)
    for mode, drafter in MODES.items():
        drafted = trace_of(engine, QUOTING, mode=mode, drafter=drafter, **common)
        assert drafted.token_ids == plain.token_ids, mode
        assert drafted.stats.num_drafted > 0, mode


def test_rows_in_eight_bits_seldom_change_the_best_token(target: LoadedModel) -> None:
    """The full target holds the same weights written out, so that the rows are all that differs."""
    full = load_model("smollm2-135m", dtype="float32")
    text = " ".join(PROMPTS)
    token_ids = Engine(full).raw_prompt(text).token_ids
    best = []
    for model in (full, target):
        runner = runner_of(model)
        runner.begin(token_ids[:2], 400, bool)
        tree = DraftTree(token_ids[1])
        for place, token_id in enumerate(token_ids[2:62]):
            tree.add(place, token_id, 0.5)
        best.append(runner.tree_forward(tree).log_softmax(dim=-1))
    exact, near = best
    agreement = (exact.argmax(dim=-1) == near.argmax(dim=-1)).float().mean()
    divergence = (exact.exp() * (exact - near)).sum(dim=-1).mean()
    assert float(agreement) > 0.9
    assert 0.0 < float(divergence) < 0.01
    assert torch.isfinite(near).all()
