"""Model drafters: caches that follow the accepted path, switching, searched layers."""

from collections.abc import Callable

import pytest
import torch

from core.drafters.base import DraftLimits, Outcome
from core.drafters.classic import ClassicDrafter
from core.drafters.layer_search import LayerSearch
from core.drafters.layer_skip import parse_layers
from core.drafters.proposals import BestProposer
from core.drafters.tree_growth import TreeGrower
from core.engine import Engine
from core.loading.forward import make_runner
from core.loading.tokenizer_match import tokenizer_difference
from core.modes.sd_classic import ClassicSettings
from tests.core.conftest import run
from tests.tiny_folder import byte_tokenizer
from tests.tiny_models import tiny_model

EngineOf = Callable[..., Engine]
PROMPT = [5, 17, 99, 3, 42, 42, 7]


@pytest.mark.parametrize("branching", [1, 3])
def test_the_draft_models_cache_is_that_of_the_accepted_text(branching: int) -> None:
    settings = ClassicSettings(depth=4, branching=branching, fixed_size=True)
    runner = make_runner(tiny_model("llama", seed=1), 512)
    drafter = ClassicDrafter({}, runner, 192, TreeGrower(settings, BestProposer(), None))
    drafter.begin(PROMPT, 100)
    text = PROMPT.copy()
    for num_accepted in (0, 2, 4, 1, 4):
        tree = drafter.draft(text[-1], DraftLimits(256, 64), None)
        deepest = max(range(len(tree)), key=lambda node: tree.depths[node])
        path = tree.path_to(deepest)[:num_accepted]
        emitted = [tree.token_ids[node] for node in path] + [(num_accepted * 31 + 8) % 192]
        drafter.commit(Outcome(tree, path, path, emitted))
        text += emitted
        length = runner.cache.length
        assert len(text) - 3 <= length < len(text), "at most the last tokens are not computed yet"
        fresh = make_runner(tiny_model("llama", seed=1), 512)
        fresh.begin(text[: length + 1], 100, bool)
        torch.testing.assert_close(
            runner.cache.storage[..., :length, :], fresh.cache.storage[..., :length, :],
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip


def test_what_another_drafter_drafted_is_caught_up() -> None:
    settings = ClassicSettings(depth=3, fixed_size=True)
    drafters = []
    for _ in range(2):
        runner = make_runner(tiny_model("llama", seed=1), 512)
        drafters.append(ClassicDrafter({}, runner, 192, TreeGrower(settings, BestProposer(), None)))
    drafters[0].begin(PROMPT, 100)
    drafters[0].follow([8, 9, 10])
    drafters[1].begin([*PROMPT, 8, 9, 10], 100)
    trees = [drafter.draft(10, DraftLimits(256, 64), None) for drafter in drafters]
    assert trees[0].token_ids == trees[1].token_ids


def test_layers_are_numbers_and_ranges() -> None:
    assert parse_layers(("0-2", "5", "1"), 6) == (0, 1, 2, 5)
    assert parse_layers((), 6) == ()


def test_the_search_finds_a_set_of_the_asked_size_and_judges_all_layers_as_the_target() -> None:
    runner = make_runner(tiny_model("llama"), 512)
    told: list[str] = []
    search = LayerSearch(runner, [PROMPT], lambda stage, done, total: told.append(stage))
    assert search.judge(range(3)).overlap == pytest.approx(1.0, abs=1e-4)
    best = search.best_set(2)
    assert len(best.layers) == 2
    singles = [search.judge(pair).overlap for pair in ((0, 1), (0, 2), (1, 2))]
    assert best.overlap == pytest.approx(max(singles), abs=1e-6), "of three sets it sees all"
    assert search.best_set(2) == best
    assert "choosing layers" in told


def test_searched_layers_are_kept_on_disk(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"mode": "layer-skip", "drafter": {"num_layers": 2, "fixed_size": True}}
    engine = engine_of()
    first = run(engine, **settings)
    monkeypatch.setattr("core.drafters.layer_skip.LayerSearch", None)
    assert run(engine, **settings).token_ids == first.token_ids


def test_tokenizers_are_compared_by_vocabulary_and_by_what_they_do() -> None:
    target = byte_tokenizer()
    assert tokenizer_difference(target, byte_tokenizer()) is None
    assert "has the id 3, not 0" in str(tokenizer_difference(target, byte_tokenizer(first_id=3)))
    other_end = tokenizer_difference(target, byte_tokenizer(end="<stop>"))
    assert other_end == "it has no token '<end>' (id 180)"
    lower = byte_tokenizer()
    from tokenizers import normalizers

    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert "splits 'Hello, world!" in str(tokenizer_difference(target, lower))
