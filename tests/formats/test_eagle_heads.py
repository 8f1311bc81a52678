"""EAGLE heads of every published form draft what their authors' own code drafts with them.

`make_eagle_heads.py` made the folders and says how.
"""

import pytest

from core.engine import Engine
from core.trace.events import Drafted
from tests.formats.published import HEADS, TOLERANCE, names_in, recorded, trace_of

NAMES = names_in(HEADS)


def test_every_form_is_there() -> None:
    assert len(NAMES) == 13


@pytest.mark.parametrize("name", NAMES)
def test_a_published_head_drafts_as_its_authors_code_does(name: str, engine: Engine) -> None:
    expected = recorded(HEADS / name)
    count = len(expected.drafted)
    chain = {"branching": 1, "depth": count, "num_nodes": count, "fixed_size": True}
    found = trace_of(
        engine, expected.prompt, mode="sd-eagle", draft=str(HEADS / name), drafter=chain
    )
    first = next(iter(found.of_kind(Drafted)))
    assert first.token_ids[1:] == expected.drafted
    assert first.draft_probs[1:] == pytest.approx(expected.probs, abs=TOLERANCE)
    assert found.token_ids == trace_of(engine, expected.prompt).token_ids


@pytest.mark.parametrize("accept", ["match", "rejection"])
@pytest.mark.parametrize("name", ["specforge-3.1", "speculators-llama", "speculators-parallel"])
def test_sampled_trees_of_such_heads_leave_the_text_as_it_is(
    name: str, accept: str, engine: Engine
) -> None:
    prompt = recorded(HEADS / name).prompt
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
    prompt = recorded(draft).prompt
    tree = {"branching": 2, "depth": 3, "num_nodes": 10, "fixed_size": True}
    found = trace_of(engine, prompt, mode="sd-eagle", draft=str(draft), drafter=tree)
    first = next(iter(found.of_kind(Drafted)))
    children: dict[int, set[tuple[int, ...]]] = {}
    for node, token_ids in enumerate(first.top_k_token_ids):
        if token_ids:
            children.setdefault(first.depths[node], set()).add(tuple(token_ids))
    assert len(children) == 3 and all(len(kinds) == 1 for kinds in children.values())
