"""Forwards and cache of real networks against transformers' own, token by token."""

import pytest
import torch

from core.loading.forward import make_runner
from core.trees.tree import DraftTree
from tests.tiny_models import FAMILIES, tiny_model

PROMPT = [5, 17, 99, 3, 42, 42, 7]
never = bool  # called without arguments it is False


def a_tree(root: int) -> DraftTree:
    """Two branches at the root, one of them branching again; nodes in no special order."""
    tree = DraftTree(root)
    first, second = tree.add(0, 11, 0.5), tree.add(0, 12, 0.4)
    tree.add(second, 13, 0.5)
    deep = tree.add(first, 14, 0.5)
    tree.add(first, 15, 0.5)
    tree.add(deep, 16, 0.5)
    return tree


def reference(module: torch.nn.Module, token_ids: list[int]) -> torch.Tensor:
    """Logits after the last token, computed whole  # [vocab]."""
    return module(input_ids=torch.tensor([token_ids])).logits[0, -1]


@pytest.mark.parametrize("family", FAMILIES)
def test_tree_logits_are_those_of_each_path_alone(family: str) -> None:
    module = tiny_model(family)
    expected_of = tiny_model(family)  # untouched by the fusing of weights
    runner = make_runner(module, 512)
    assert (runner.forward.name == "lean") == (family != "codegen")
    runner.begin(PROMPT, 100, never)
    tree = a_tree(PROMPT[-1])
    logits = runner.tree_forward(tree)
    for node in range(len(tree)):
        expected = reference(expected_of, [*PROMPT, *tree.path_token_ids(node)])
        torch.testing.assert_close(logits[node], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen3", "codegen"])
def test_after_a_commit_the_cache_is_that_of_the_accepted_text(family: str) -> None:
    runner = make_runner(tiny_model(family), 512)
    runner.begin(PROMPT, 100, never)
    tree = a_tree(PROMPT[-1])
    runner.tree_forward(tree)
    path = [1, 4, 6]
    runner.commit(path)
    text = [*PROMPT, *(tree.token_ids[node] for node in path), 21]
    fresh = make_runner(tiny_model(family), 512)
    fresh.begin(text, 100, never)
    length = len(text) - 1
    assert runner.cache.length == fresh.cache.length == length
    for stored, expected in zip(runner.cache.storages(), fresh.cache.storages(), strict=True):
        torch.testing.assert_close(
            stored[..., :length, :], expected[..., :length, :], rtol=1e-4, atol=1e-4
        )
    after = DraftTree(21)
    torch.testing.assert_close(
        runner.tree_forward(after), fresh.tree_forward(after), rtol=1e-4, atol=1e-4
    )


def test_a_long_prompt_is_computed_in_pieces_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompt = [(7 * index) % 190 for index in range(50)]
    whole = make_runner(tiny_model("llama"), 512)
    whole.begin(prompt, 60, never)
    monkeypatch.setattr("core.backends.runner.PREFILL_CHUNK", 16)
    pieces = make_runner(tiny_model("llama"), 512)
    pieces.begin(prompt, 60, never)
    torch.testing.assert_close(
        pieces.tree_forward(DraftTree(prompt[-1])), whole.tree_forward(DraftTree(prompt[-1])),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_wide_prompts_take_the_ungrouped_way_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grouped = make_runner(tiny_model("llama"), 512)
    grouped.begin(PROMPT, 60, never)
    monkeypatch.setattr("core.backends.torch.forward._MAX_GROUPED_ROWS", 2)
    ungrouped = make_runner(tiny_model("llama"), 512)
    ungrouped.begin(PROMPT, 60, never)
    tree = a_tree(PROMPT[-1])
    torch.testing.assert_close(
        ungrouped.tree_forward(tree), grouped.tree_forward(tree), rtol=1e-4, atol=1e-4
    )


def test_what_a_second_prompt_shares_with_the_first_is_reused() -> None:
    runner = make_runner(tiny_model("llama"), 512)
    assert runner.begin(PROMPT, 100, never) == 0
    runner.tree_forward(DraftTree(PROMPT[-1]))
    runner.commit([])
    longer = [*PROMPT, 8, 9, 10]
    assert runner.begin(longer, 100, never) == len(PROMPT)
    fresh = make_runner(tiny_model("llama"), 512)
    fresh.begin(longer, 100, never)
    torch.testing.assert_close(
        runner.tree_forward(DraftTree(10)),
        fresh.tree_forward(DraftTree(10)),
        rtol=1e-4,
        atol=1e-4,
    )
    runner.forget()
    assert runner.begin(longer, 100, never) == 0


def test_a_stop_during_the_prompt_keeps_a_cache_that_the_next_run_can_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.backends.runner.PREFILL_CHUNK", 2)
    runner = make_runner(tiny_model("llama"), 512)
    asked = iter([False, True])
    runner.begin(PROMPT, 100, lambda: next(asked))
    assert runner.cache.length == 2
    assert runner.begin(PROMPT, 100, never) == 2
