"""Published drafters on a GPU: the drafts of their authors' code, by steps of the device where they
have a form for it, and the text of plain decoding."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.engine import Engine
from core.trace.events import Drafted
from tests.formats import test_medusa_heads, test_mtp_layers
from tests.formats.published import (
    BLOCKS,
    HEADS,
    TOLERANCE,
    decide_on_device,
    load_target,
    names_in,
    recorded,
    trace_of,
)

pytestmark = pytest.mark.gpu

FOLDERS = {
    "sd-eagle": HEADS,
    "sd-block": BLOCKS,
    "sd-medusa": test_medusa_heads.FOLDERS,
    "sd-mtp": test_mtp_layers.FOLDERS,
}
DRAFTERS = [(mode, folder / name) for mode, folder in FOLDERS.items() for name in names_in(folder)]
CHAIN = {"branching": 1, "depth": 8, "num_nodes": 8, "fixed_size": True}
TREE = {"branching": 3, "depth": 4, "num_nodes": 12, "fixed_size": True}
SAMPLED = {"do_sample": True, "temperature": 1.0, "seed": 4}


@pytest.fixture(scope="module", params=["host", "device"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    torch.backends.cuda.matmul.allow_tf32 = False
    folder = tmp_path_factory.mktemp("formats") / "target"
    made = Engine(load_target(folder, compile=False, device="cuda"))
    if request.param == "device":
        decide_on_device(made)
    yield made


@pytest.mark.parametrize(
    ("mode", "draft"), DRAFTERS, ids=[f"{mode} {path.name}" for mode, path in DRAFTERS]
)
def test_a_published_drafter_drafts_as_its_authors_code_does(
    mode: str, draft: Path, engine: Engine
) -> None:
    expected = recorded(draft)
    settings: dict[str, Any] = {"device": "cuda", "mode": mode, "draft": str(draft)}
    found = trace_of(engine, expected.prompt, drafter=CHAIN, **settings)
    first = next(iter(found.of_kind(Drafted)))
    count = len(expected.drafted)
    assert first.token_ids[1 : count + 1] == expected.drafted
    assert first.draft_probs[1 : count + 1] == pytest.approx(expected.probs, abs=TOLERANCE)
    for sampling in ({}, SAMPLED):
        common: dict[str, Any] = {"sampling": sampling, "max_new_tokens": 40}
        plain = trace_of(engine, expected.prompt, device="cuda", **common)
        drafted = trace_of(engine, expected.prompt, drafter=TREE, **settings, **common)
        assert drafted.token_ids == plain.token_ids
        assert drafted.stats.num_drafted > 0
