"""Modules whose layers keep a state: after any refusal, stop or error it is that of the kept tokens."""

from functools import cache
from typing import Any

import pytest
import torch

from core.backends.cost_curve import measure
from core.backends.layer_cache import LayerCache
from core.backends.runner import ModelRunner
from core.errors import InvalidSettingError
from core.loading.forward import make_runner
from core.trees.tree import DraftTree
from tests.core.models.every_mode import random_module, small_configuration

# A state beside attention, in one layer and in others; one alone; one that takes one token at a time;
# one of the module's own.
KINDS = ("falcon_h1", "qwen3_5_text", "mamba2", "mamba", "rwkv")
PROMPT = [5, 17, 3, 60, 17, 3, 60, 88, 2, 41, 9, 17]


@cache
def module_of(kind: str) -> Any:
    return random_module(small_configuration(kind))


def runner_of(kind: str) -> ModelRunner:
    runner = make_runner(module_of(kind), 256)
    assert not runner.can_branch
    return runner


@torch.inference_mode()
def expected_logits(kind: str, token_ids: list[int]) -> torch.Tensor:
    """After the last token, without any cache  # [vocab]."""
    logits: torch.Tensor = module_of(kind)(torch.tensor([token_ids]), use_cache=False).logits
    return logits[0, -1]


def chain(root: int, *token_ids: int) -> DraftTree:
    tree = DraftTree(root)
    for node, token_id in enumerate(token_ids):
        tree.add(node, token_id, 1.0)
    return tree


def check_next(runner: ModelRunner, kind: str, text: list[int]) -> None:
    """The text less its last token is committed, and the last one is computed rightly."""
    logits = runner.tree_forward(chain(text[-1]))[0]
    torch.testing.assert_close(logits, expected_logits(kind, text), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_kept_of_a_chain_the_next_logits_are_those_of_the_text(kind: str) -> None:
    runner = runner_of(kind)
    runner.begin(PROMPT, 200, bool)
    text = PROMPT.copy()
    for num_drafted, num_kept in ((3, 1), (3, 0), (0, 0), (2, 2), (4, 3), (1, 0), (1, 0), (5, 5)):
        drafted = [(7 * num_drafted + 13 * index + len(text)) % 90 for index in range(num_drafted)]
        rows = runner.tree_forward(chain(text[-1], *drafted))
        for row in range(num_drafted + 1):
            expected = expected_logits(kind, [*text, *drafted[:row]])
            torch.testing.assert_close(rows[row], expected, rtol=1e-3, atol=1e-3)
        runner.commit(list(range(1, num_kept + 1)))
        text += [*drafted[:num_kept], 50 + num_kept]
    check_next(runner, kind, text)


@pytest.mark.parametrize("kind", KINDS)
def test_many_refusals_one_after_the_other_lose_nothing(kind: str) -> None:
    """More than the tokens that are computed again in front of the next rows."""
    runner = runner_of(kind)
    runner.begin(PROMPT, 200, bool)
    text = PROMPT.copy()
    for step in range(20):
        runner.tree_forward(chain(text[-1], 4, 5))
        runner.commit([])
        text.append((11 * step) % 90)
    check_next(runner, kind, text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_next_prompt_goes_on_where_a_state_is_known(kind: str) -> None:
    runner = runner_of(kind)
    runner.begin(PROMPT, 200, bool)
    runner.tree_forward(chain(PROMPT[-1], 30, 31))
    runner.commit([1, 2])
    answer = [*PROMPT, 30, 31]
    reused = runner.begin([*answer, 8, 9], 200, bool)
    assert reused == len(answer)
    check_next(runner, kind, [*answer, 8, 9])
    # Behind the first prompt another answer: the state goes back to the prompt's end, or begins anew.
    other = [*PROMPT[:-1], 70, 71, 72]
    reused = runner.begin(other, 200, bool)
    assert reused in (len(PROMPT) - 1, 0)
    check_next(runner, kind, other)
    shorter = PROMPT[:4]
    assert runner.begin(shorter, 200, bool) == 0
    check_next(runner, kind, shorter)


@pytest.mark.parametrize("kind", KINDS)
def test_a_forward_that_breaks_leaves_no_state_behind(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_of(kind)
    runner.begin(PROMPT, 200, bool)
    runner.tree_forward(chain(PROMPT[-1], 30))
    runner.commit([1])
    head = module_of(kind).get_output_embeddings()

    def broken(states: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(head, "forward", broken)
        with pytest.raises(RuntimeError):
            runner.tree_forward(chain(40, 41, 42))
    check_next(runner, kind, [*PROMPT, 30, 40])
    runner.clear()
    runner.begin(PROMPT, 200, bool)
    check_next(runner, kind, PROMPT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_is_stopped_in_the_middle_goes_on_rightly(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.backends.runner.PREFILL_CHUNK", 4)
    runner = runner_of(kind)
    answers = iter([False, True])
    runner.begin(PROMPT, 200, lambda: next(answers))
    assert runner.cache.length == 4
    runner.begin(PROMPT, 200, bool)
    check_next(runner, kind, PROMPT)


def test_a_draft_with_branches_is_refused() -> None:
    runner = runner_of("mamba2")
    runner.begin(PROMPT, 200, bool)
    tree = DraftTree(PROMPT[-1])
    tree.add(0, 4, 1.0)
    tree.add(0, 5, 1.0)
    with pytest.raises(InvalidSettingError, match="computes chains alone"):
        runner.tree_forward(tree)


def test_the_cost_of_a_draft_holds_what_a_refusal_leaves_to_be_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = runner_of("mamba2")
    counts: list[int] = []
    compute = runner.forward_rows

    def counted(token_ids: list[int], *args: Any, **kwargs: Any) -> Any:
        counts.append(len(token_ids))
        return compute(token_ids, *args, **kwargs)

    monkeypatch.setattr(runner, "forward_rows", counted)
    monkeypatch.setattr("core.backends.cost_curve._BUDGET_S", 0.0)
    curve = measure(runner, 100).curve
    assert curve.rows[:3] == (1, 2, 4)
    assert {1, 3, 6} <= set(counts) and 2 not in counts
    assert isinstance(runner.cache, LayerCache) and runner.cache.length == 100
