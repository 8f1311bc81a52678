"""Shape-invariant execution: the same tokens at the same positions give the same bits."""

import pytest
import torch

from core.backends.torch.invariant import ROWS_PER_FORWARD, InvariantRunner, invariant_sibling
from core.errors import DrafterUnavailableError
from core.loading.forward import make_runner
from core.trees.tree import DraftTree
from tests.tiny_models import tiny_model

PROMPT = [(11 * index + 5) % 190 for index in range(37)]
CONTINUATION = [7, 100, 3, 42, 42, 9, 180, 21]


def runner_of(dtype: torch.dtype, family: str = "llama") -> InvariantRunner:
    runner = invariant_sibling(make_runner(tiny_model(family, dtype), 512))
    runner.begin(PROMPT, 100, bool)
    return runner


def decoded_plainly(runner: InvariantRunner) -> list[torch.Tensor]:
    """Logits after the prompt and after each token of the continuation  # each [vocab]."""
    logits = []
    for token_id in [PROMPT[-1], *CONTINUATION]:
        logits.append(runner.tree_forward(DraftTree(token_id))[0].clone())
        runner.commit([])
    return logits


def tree_with_strays(num_strays: int) -> tuple[DraftTree, list[int]]:
    """The continuation as a path between strays at every level; with the path's nodes."""
    tree, path, node = DraftTree(PROMPT[-1]), [], 0
    for depth, token_id in enumerate(CONTINUATION):
        for stray in range(num_strays):
            tree.add(node, (token_id + 1 + stray + depth) % 190, 0.1)
        node = tree.add(node, token_id, 0.5)
        path.append(node)
    return tree, path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_strays", [0, 1, 5])
def test_a_tree_gives_the_logits_and_the_cache_of_plain_decoding_bit_for_bit(
    dtype: torch.dtype, num_strays: int
) -> None:
    plain = runner_of(dtype)
    expected = decoded_plainly(plain)
    runner = runner_of(dtype)
    tree, path = tree_with_strays(num_strays)
    assert num_strays < 5 or len(tree) > 2 * ROWS_PER_FORWARD, "several forwards"
    logits = runner.tree_forward(tree).clone()
    for node, row in zip([0, *path], expected, strict=True):
        assert torch.equal(logits[node], row)
    runner.commit(path)
    length = len(PROMPT) + len(CONTINUATION)
    assert runner.cache.length == plain.cache.length == length
    assert torch.equal(runner.cache.storage[..., :length, :], plain.cache.storage[..., :length, :])


def test_a_prompt_computed_whole_has_the_bits_of_one_computed_token_by_token() -> None:
    plain = runner_of(torch.bfloat16)
    decoded_plainly(plain)
    whole = invariant_sibling(make_runner(tiny_model("llama", torch.bfloat16), 512))
    text = [*PROMPT, *CONTINUATION, 1]
    whole.begin(text, 100, bool)
    length = len(text) - 1
    assert torch.equal(whole.cache.storage[..., :length, :], plain.cache.storage[..., :length, :])


def test_logits_are_those_of_ordinary_execution_up_to_rounding() -> None:
    ordinary = make_runner(tiny_model("qwen3"), 512)
    ordinary.begin(PROMPT, 100, bool)
    tree, _ = tree_with_strays(2)
    torch.testing.assert_close(
        runner_of(torch.float32, "qwen3").tree_forward(tree),
        ordinary.tree_forward(tree),
        rtol=1e-3,
        atol=1e-3,
    )


def test_a_model_that_only_transformers_computes_is_refused_in_a_sentence() -> None:
    with pytest.raises(DrafterUnavailableError, match="leave --invariant out"):
        invariant_sibling(make_runner(tiny_model("codegen"), 512))
