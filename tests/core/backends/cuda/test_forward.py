"""The forward that the device does alone, of every family that it can, against the eager one."""

from pathlib import Path

import pytest
import torch

from core.backends.cuda.attention import MaskedAttention, Rows
from core.backends.cuda.forward import DeviceForward, reason_against
from core.backends.cuda.pieces import Pieces
from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.loading.forward import make_runner, runner_of
from core.loading.loading import load_model
from core.trees.tensors import ancestors
from core.trees.tree import DraftTree
from tests.core.families.family_configs import DISTINCT, SPARSE, random_module
from tests.core.families.test_families import TREES, random_tokens
from tests.core.models.folders import save_module

DENSE = [name for name in DISTINCT if name not in SPARSE]
# Other orders of summation change float32 by a few millionths.
TOLERANCE = 3e-5


def rows_of(tree: DraftTree, runner: ModelRunner) -> Rows:
    start = torch.tensor([runner.cache.length])
    parents = torch.tensor([0, *tree.parents[1:]])
    positions = start + torch.tensor(tree.depths)
    slots = start + torch.arange(len(tree))
    return Rows(
        torch.tensor(tree.token_ids), positions, slots, start, ancestors(parents[None]), positions
    )


@pytest.mark.parametrize("family", DENSE)
def test_trees_are_computed_as_the_eager_forward_does(family: str) -> None:
    check_trees(family)


def check_trees(family: str) -> None:
    """Logits of several trees, one behind the other."""
    runner = make_runner(random_module(family), 512)
    assert isinstance(runner.forward, TorchForward)
    token_ids = random_tokens()
    runner.begin(token_ids[:30], 64, bool)
    attention = MaskedAttention(runner.forward.shape)
    forward = DeviceForward(runner.forward, runner.cache, Pieces(compile=False), attention)
    fresh = iter(token_ids[29:])
    for parents, path in TREES:
        tree = DraftTree(next(fresh))
        for parent in parents:
            tree.add(parent, next(fresh), 1.0)
        found, _ = forward(rows_of(tree, runner))
        assert found is not None
        expected = runner.tree_forward(tree)
        assert float((found - expected).norm() / expected.norm()) < TOLERANCE
        runner.commit(list(path))


@pytest.mark.parametrize("family", ["llama", "gemma2", "mixtral", "gpt_oss"])
def test_experts_are_left_to_the_host(family: str, tmp_path: Path) -> None:
    folder = save_module(tmp_path, random_module(family))
    reason = reason_against(runner_of(load_model(folder, dtype="float32", compile=False)).forward)
    if family in SPARSE:
        assert reason is not None and "experts" in reason
    else:
        assert reason is None
