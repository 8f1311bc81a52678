"""What layers with a window or chunks read of a model that transformers' module computes: no more than
they see, however long the text is."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import Llama4TextConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from core.backends.runner import ModelRunner
from core.backends.transformers.forward import transformers_shape
from core.backends.transformers.module_forward import ModuleForward, Way
from core.trees.tree import DraftTree
from tests.core.families.family_configs import CONFIGS, WINDOW, module_of
from tests.core.families.test_families import TOLERANCE, random_tokens, rows_of_trees

# A window in all layers, two kinds of layers, and chunks without what goes by a token's column.
WINDOWED = {
    "window": CONFIGS["mistral"],
    "windows": CONFIGS["gemma3_text"],
    "chunks": Llama4TextConfig(
        **CONFIGS["llama4_text"].to_dict() | {"attn_temperature_tuning": False}
    ),
}


def runner_by(module: Any, way: Way) -> ModelRunner:
    shape = transformers_shape(module)
    return ModelRunner(ModuleForward(module, way), shape, 512, torch.float32, torch.device("cpu"))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int, int]]:
    """Of each attention whether its layer has a window, its rows, and the columns that it reads."""
    shapes: list[tuple[bool, int, int]] = []
    attend = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def noted(module: Any, query: torch.Tensor, key: torch.Tensor, *given: Any, **how: Any) -> Any:
        kinds = getattr(module.config, "layer_types", None)
        kind = "sliding_attention" if kinds is None else kinds[module.layer_idx]
        shapes.append((kind != "full_attention", query.shape[2], key.shape[2]))
        return attend(module, query, key, *given, **how)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "sdpa", noted)
    return shapes


def check_columns(shapes: Sequence[tuple[bool, int, int]], length: int) -> None:
    """Of forwards over some rows behind `length` tokens."""
    assert any(is_windowed for is_windowed, _, _ in shapes)
    for is_windowed, rows, columns in shapes:
        if is_windowed:
            assert columns <= WINDOW - 1 + rows
        else:
            assert columns == length + rows


@pytest.mark.parametrize("kind", WINDOWED)
@torch.inference_mode()
def test_a_tree_reads_no_more_than_its_window(kind: str, seen: list[tuple[bool, int, int]]) -> None:
    module = module_of(WINDOWED[kind])
    runner = runner_by(module, "trees")
    rows = list(rows_of_trees(runner, random_tokens()))
    seen.clear()
    length = runner.cache.length
    assert length > 4 * WINDOW
    tree = DraftTree(7)
    for parent in (0, 0, 2):
        tree.add(parent, 9, 1.0)
    runner.tree_forward(tree)
    runner.commit([])
    check_columns(seen, length)
    seen.clear()
    runner.tree_forward(DraftTree(7))
    check_columns(seen, length + 1)
    for row, token_ids in rows:
        expected = module(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0, -1]
        assert float((row - expected).norm() / expected.norm()) < TOLERANCE


@pytest.mark.parametrize("kind", WINDOWED)
@torch.inference_mode()
def test_a_chain_reads_no_more_than_its_window(
    kind: str, seen: list[tuple[bool, int, int]]
) -> None:
    module, token_ids = module_of(WINDOWED[kind]), random_tokens()
    runner = runner_by(module, "chains")
    runner.begin(token_ids[:50], 64, bool)
    seen.clear()
    tree = DraftTree(token_ids[49])
    for parent, token_id in enumerate(token_ids[50:53]):
        tree.add(parent, token_id, 1.0)
    rows = runner.tree_forward(tree)
    check_columns(seen, 49)
    expected = module(input_ids=torch.tensor([token_ids[:53]]), use_cache=False).logits[0, -4:]
    assert float((rows - expected).norm() / expected.norm()) < TOLERANCE
