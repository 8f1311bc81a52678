"""EAGLE heads of every published form draft what their authors' own code drafts with them.

`make_eagle_heads.py` made the folders and says how.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.backends.cpu.library import Kernels
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Drafted
from core.trace.file import Trace
from tests.tiny_folder import byte_tokenizer

HEADS = Path(__file__).parent / "eagle"
NAMES = sorted(path.name for path in HEADS.iterdir() if path.name != "target")
# Other orders of summation change float32 by a few millionths.
TOLERANCE = 5e-5


@pytest.fixture(scope="module", params=["eager", "kernels"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kernels: Kernels
) -> Engine:
    folder = tmp_path_factory.mktemp("formats") / "target"
    shutil.copytree(HEADS / "target", folder)
    byte_tokenizer().save_pretrained(folder)
    return Engine(load_model(str(folder), dtype="float32", compile=request.param == "kernels"))


def trace_of(engine: Engine, prompt: list[int], **settings: Any) -> Trace:
    config = RunConfig.from_dict({"max_new_tokens": 12, **settings})
    return Trace(list(engine.run(Prompt("", prompt), config)))


def test_every_form_is_there() -> None:
    assert len(NAMES) == 13


@pytest.mark.parametrize("name", NAMES)
def test_a_published_head_drafts_as_its_authors_code_does(name: str, engine: Engine) -> None:
    expected = json.loads((HEADS / name / "drafted.json").read_text())
    count = len(expected["drafted"])
    chain = {"branching": 1, "depth": count, "num_nodes": count, "fixed_size": True}
    found = trace_of(
        engine, expected["prompt"], mode="sd-eagle", draft=str(HEADS / name), drafter=chain
    )
    first = next(iter(found.of_kind(Drafted)))
    assert first.token_ids[1:] == expected["drafted"]
    assert first.draft_probs[1:] == pytest.approx(expected["probs"], abs=TOLERANCE)
    assert found.token_ids == trace_of(engine, expected["prompt"]).token_ids


@pytest.mark.parametrize("accept", ["match", "rejection"])
@pytest.mark.parametrize("name", ["specforge-3.1", "speculators-llama", "speculators-parallel"])
def test_sampled_trees_of_such_heads_leave_the_text_as_it_is(
    name: str, accept: str, engine: Engine
) -> None:
    prompt = json.loads((HEADS / name / "drafted.json").read_text())["prompt"]
    sampling = {"do_sample": True, "temperature": 1.0, "seed": 4}
    tree = {"branching": 3, "depth": 4, "num_nodes": 12, "fixed_size": True}
    settings = {"sampling": sampling, "accept": accept}
    found = trace_of(
        engine, prompt, mode="sd-eagle", draft=str(HEADS / name), drafter=tree, **settings
    )
    assert max(len(event.token_ids) for event in found.of_kind(Drafted)) > 5
    if accept == "match":  # the other rule draws another text from the same distribution
        assert found.token_ids == trace_of(engine, prompt, **settings).token_ids


def test_a_head_that_drafts_in_one_pass_expands_every_path_by_the_same_children(
    engine: Engine,
) -> None:
    draft = HEADS / "speculators-parallel"
    prompt = json.loads((draft / "drafted.json").read_text())["prompt"]
    tree = {"branching": 2, "depth": 3, "num_nodes": 10, "fixed_size": True}
    found = trace_of(engine, prompt, mode="sd-eagle", draft=str(draft), drafter=tree)
    first = next(iter(found.of_kind(Drafted)))
    children: dict[int, set[tuple[int, ...]]] = {}
    for node, token_ids in enumerate(first.top_k_token_ids):
        if token_ids:
            children.setdefault(first.depths[node], set()).add(tuple(token_ids))
    assert len(children) == 3 and all(len(kinds) == 1 for kinds in children.values())
