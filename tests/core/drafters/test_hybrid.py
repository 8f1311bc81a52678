"""The lookup beside models: who drafts a step, and of several models which."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.runs.limits import Limits
from core.config import RunConfig
from core.drafters.base import DraftLimits, Outcome
from core.drafters.hybrid import HybridDrafter
from core.drafters.ngram import NgramDrafter
from core.engine import Engine
from core.errors import InvalidSettingError
from core.modes.hybrid import Part, parts_of
from core.modes.ngram import NgramSettings
from core.trace.events import Committed, Drafted, RunFailed, RunStarted
from core.trees.tree import DraftTree
from tests.core.conftest import run

EngineOf = Callable[..., Engine]


class FixedModel:
    """Always drafts the same chain; remembers what it was told."""

    identity = None
    device_form = None

    def __init__(self, name: str = "fixed", drafting_s: float = 0.5) -> None:
        self.name = name
        self.drafting_s = drafting_s
        self.followed: list[int] = []

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        pass

    def draft(self, root_token_id: int, limits: DraftLimits, cost: Any) -> DraftTree:
        tree = DraftTree(root_token_id)
        tree.add(0, 100, 0.5)
        return tree

    def commit(self, outcome: Outcome) -> None:
        pass

    def follow(self, token_ids: list[int]) -> None:
        self.followed += token_ids

    def finish(self) -> None:
        pass


def test_hybrid_takes_the_lookup_where_it_pays_and_the_model_elsewhere() -> None:
    model = FixedModel()
    hybrid = HybridDrafter(NgramDrafter(NgramSettings(min_match=2)), [model])
    hybrid.begin([1, 2, 3, 4, 5, 1, 2, 3], 100)

    def cost(rows: int) -> float:
        return 1.0

    tree = hybrid.draft(3, DraftLimits(256, 64), cost)
    assert hybrid.name == "hybrid: ngram"
    assert tree.token_ids[1] == 4
    hybrid.commit(Outcome(tree, [1], [1], [4, 90]))
    assert model.followed == [4, 90]
    tree = hybrid.draft(90, DraftLimits(256, 64), cost)
    assert hybrid.name == "hybrid: fixed"
    assert tree.token_ids == [90, 100]
    hybrid.commit(Outcome(tree, [], [1], [7]))
    assert model.followed == [4, 90], "its own step it hears of by commit"


def test_hybrid_names_who_drafted_each_step(engine_of: EngineOf, tiny_home: Path) -> None:
    drafter = {"bits": 4, "group_size": 32, "fixed_size": True, "min_match": 2}
    trace = run(engine_of(), "abcabcabcabc" * 3, mode="hybrid", drafter=drafter)
    names = {event.drafter for event in trace.of_kind(Drafted)}
    assert names <= {"hybrid: ngram", "hybrid: share-sd"}
    assert "hybrid: share-sd" in names
    classic = run(
        engine_of(), mode="hybrid", draft=str(tiny_home / "draft"),
        drafter={"fixed_size": True, "min_match": 9},
    )  # fmt: skip
    assert "hybrid: sd-classic" in {event.drafter for event in classic.of_kind(Drafted)}


def drafted_by(speeds: dict[str, tuple[float, int]], num_steps: int) -> list[str]:
    """Who of some models drafts; each has the seconds of its draft and the tokens that a step emits."""
    models = [FixedModel(name, seconds) for name, (seconds, _) in speeds.items()]
    hybrid = HybridDrafter(NgramDrafter(NgramSettings(min_match=9)), models)
    hybrid.begin([1], 1000)
    names = []
    for step in range(num_steps):
        tree = hybrid.draft(1, DraftLimits(256, 64), lambda rows: 1.0)
        name = hybrid.name.removeprefix("hybrid: ")
        names.append(name)
        # Never the same tokens again, of which the lookup would draft.
        emitted = [100 * step + index for index in range(speeds[name][1])]
        hybrid.commit(Outcome(tree, [], [1], emitted))
    return names


def test_of_several_models_the_one_with_the_most_tokens_per_second_drafts() -> None:
    names = drafted_by({"dear": (3.0, 4), "good": (0.5, 3), "cheap": (0.1, 1)}, 100)
    assert names[:3] == ["dear", "good", "cheap"], "each is tried"
    assert names.count("good") > 85
    assert names[50:].count("dear") >= 1 and names[50:].count("cheap") >= 1, "and tried again"


def test_a_model_that_does_not_draft_follows_the_text() -> None:
    models = [FixedModel("a", 0.1), FixedModel("b", 5.0)]
    hybrid = HybridDrafter(NgramDrafter(NgramSettings(min_match=9)), models)
    hybrid.begin([1], 100)
    for token_id in (7, 8, 9):
        tree = hybrid.draft(1, DraftLimits(256, 64), lambda rows: 1.0)
        hybrid.commit(Outcome(tree, [], [1], [token_id]))
    assert models[0].followed == [8] and models[1].followed == [7, 9]


def test_parts_are_short_names_modes_and_models() -> None:
    assert parts_of("eagle + block+self") == (
        Part("sd-eagle", None),
        Part("sd-block", None),
        Part("share-sd", None),
    )
    assert parts_of("sd-mtp+sd-medusa=a/b=c+some/model") == (
        Part("sd-mtp", None),
        Part("sd-medusa", "a/b=c"),
        Part("sd-classic", "some/model"),
    )


@pytest.mark.parametrize("draft", ["", "eagle+", "eagle+eagle", "sd-medusa=", "eagle+sd-eagle"])
def test_parts_that_are_none_are_refused(draft: str) -> None:
    with pytest.raises(InvalidSettingError, match="give models with a plus between, each once"):
        RunConfig.from_dict({"mode": "hybrid", "draft": draft})


def several(home: Path) -> str:
    return f"sd-eagle={home / 'head'}+sd-block={home / 'block'}+sd-medusa={home / 'heads'}"


@pytest.mark.parametrize(
    "sampling", [{}, {"do_sample": True, "seed": 3}], ids=["greedy", "sampled"]
)
@pytest.mark.parametrize("branching", [1, 2])
def test_several_models_leave_the_text_as_it_is(
    sampling: dict[str, Any], branching: int, engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of()
    drafter = {"fixed_size": True, "depth": 3, "branching": branching, "min_match": 9}
    plain = run(engine, mode="naive", sampling=sampling)
    trace = run(engine, mode="hybrid", draft=several(tiny_home), drafter=drafter, sampling=sampling)
    assert trace.token_ids == plain.token_ids
    names = {event.drafter for event in trace.of_kind(Drafted)}
    assert {"hybrid: sd-eagle", "hybrid: sd-block", "hybrid: sd-medusa"} <= names
    started = trace.first(RunStarted)
    assert started is not None and started.draft is not None
    assert [part["method"] for part in started.draft["parts"]] == [
        "sd-eagle",
        "sd-block",
        "sd-medusa",
    ]


def test_each_of_several_models_drafts_what_it_drafts_alone(
    engine_of: EngineOf, tiny_home: Path
) -> None:
    """The target's cache holds the states that all of them read; each finds its own there."""
    engine = engine_of()
    drafter = {"fixed_size": True, "depth": 3, "min_match": 9}
    alone = {}
    for mode, name in (("sd-eagle", "head"), ("sd-block", "block"), ("sd-medusa", "heads")):
        trace = run(
            engine, mode=mode, draft=str(tiny_home / name), drafter={"fixed_size": True, "depth": 3}
        )
        alone[mode] = _by_position(trace)
    trace = run(engine, mode="hybrid", draft=several(tiny_home), drafter=drafter)
    compared = 0
    for position, (name, token_ids) in _by_position(trace).items():
        found = alone.get(name.removeprefix("hybrid: "), {}).get(position)
        if found is not None:
            assert token_ids == found[1]
            compared += 1
    assert compared > 3


def _by_position(trace: Any) -> dict[int, tuple[str, list[int]]]:
    """Who drafted what behind so many emitted tokens."""
    found, position = {}, 0
    for drafted, committed in zip(trace.of_kind(Drafted), trace.of_kind(Committed), strict=True):
        found[position] = drafted.drafter, drafted.token_ids
        position += len(committed.token_ids)
    return found


def test_several_models_draft_for_sequences_side_by_side(
    engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of()
    config = RunConfig.from_dict(
        {
            "mode": "hybrid",
            "draft": several(tiny_home),
            "drafter": {"fixed_size": True, "depth": 3},
            "max_new_tokens": 20,
        }
    )
    prompts = [engine.raw_prompt(text) for text in ("abcabc", "hello there", "xyz")]
    token_ids: dict[int, list[int]] = {}
    for index, event in engine.run_batch([(prompt, config) for prompt in prompts], 3):
        assert not isinstance(event, RunFailed), event
        if isinstance(event, Committed):
            token_ids.setdefault(index, []).extend(event.token_ids)
    for index, text in enumerate(("abcabc", "hello there", "xyz")):
        assert token_ids[index] == run(engine, text, mode="naive", max_new_tokens=20).token_ids


def test_a_profile_of_several_models_is_refused(engine_of: EngineOf, tiny_home: Path) -> None:
    engine = engine_of()
    config = RunConfig.from_dict({"mode": "hybrid", "draft": several(tiny_home)})
    with pytest.raises(
        InvalidSettingError, match="several models draft, and a profile records one"
    ):
        list(engine.profile(engine.raw_prompt("abc"), config))


def test_a_page_checks_each_of_several_models() -> None:
    limits = Limits(models=frozenset({"target", "small"}))
    limits.check(
        RunConfig.from_dict({"target": "target", "mode": "hybrid", "draft": "eagle+small"}), 0
    )
    with pytest.raises(InvalidSettingError, match="'/etc' is not offered here"):
        limits.check(
            RunConfig.from_dict(
                {"target": "target", "mode": "hybrid", "draft": "eagle+sd-mtp=/etc"}
            ),
            0,
        )
