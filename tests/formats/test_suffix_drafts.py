"""Drafts from earlier answers against arctic-inference's SuffixDecoding; see record_suffix_drafts."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.drafters import suffix_index
from core.drafters.suffix_index import Proposal, SuffixIndex

RECORDED = json.loads((Path(__file__).parent / "suffix" / "drafts.json").read_text())
CASES = [
    {"answers": cache["answers"], **case} for cache in RECORDED["caches"] for case in cache["cases"]
]


def proposal(case: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch) -> Proposal:
    monkeypatch.setattr(suffix_index, "NODES_PER_MATCHED_TOKEN", RECORDED["factors"][name])
    index = SuffixIndex(case["answers"])
    most = RECORDED["num_nodes"]
    branching = 1 if name == "chain" else most
    return index.propose(case["context"], num_nodes=most, depth=most, branching=branching)


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_a_chain_is_theirs(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = case["chain"], proposal(case, "chain", monkeypatch)
    assert ours.tree.token_ids[1:] == theirs["token_ids"]
    assert ours.tree.reach() == pytest.approx(theirs["reach"])
    assert ours.score == pytest.approx(theirs["score"])
    assert ours.match_length == theirs["match_length"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_a_tree_has_their_score_and_every_node_of_theirs_that_has_no_equal(
    case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = case["tree"], proposal(case, "tree", monkeypatch)
    assert ours.score == pytest.approx(theirs["score"])
    if ours.match_length > theirs["match_length"]:
        return  # two matches score alike, but for their rounding in 32 bits
    assert ours.match_length == theirs["match_length"]
    reach = ours.tree.reach()
    assert sorted(reach) == pytest.approx(sorted(theirs["reach"]))
    least = min(theirs["reach"], default=0.0) + 1e-6
    paths = {tuple(ours.tree.path_token_ids(node + 1)) for node, p in enumerate(reach) if p > least}
    assert paths == {path for path, p in their_paths(theirs) if p > least}


def their_paths(draft: dict[str, Any]) -> list[tuple[tuple[int, ...], float]]:
    paths: list[tuple[int, ...]] = []
    for token_id, parent in zip(draft["token_ids"], draft["parents"], strict=True):
        paths.append((*(paths[parent] if parent >= 0 else ()), token_id))
    return list(zip(paths, draft["reach"], strict=True))


def test_what_was_recorded_has_chains_and_branches() -> None:
    """Else the cases above would say little."""
    trees = [case["tree"]["parents"] for case in CASES]
    assert sum(len(case["chain"]["token_ids"]) > 4 for case in CASES) > 20
    assert sum(len(set(parents)) < len(parents) for parents in trees) > 20
