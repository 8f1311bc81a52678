"""What the compiled kernels are given is checked before they read or write by it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from core.backends.cpu.forward import CpuForward
from core.backends.cpu.library import Kernels
from core.backends.cpu.linear import can_read_grid, cpu_dense, cpu_grid
from core.backends.row_block import RowBlock
from core.backends.torch.linear import DenseLinear, WeightGrid
from core.backends.torch.sizes import check_sizes
from core.backends.torch.weights import LayerStack
from core.errors import ModelUnavailableError
from core.families.architecture import Architecture
from core.loading.forward import make_runner
from tests.tiny_models import tiny_model

CAPACITY = 40
Change = Callable[[RowBlock], RowBlock]


@pytest.fixture(scope="module")
def forward(kernels: Kernels) -> CpuForward:
    forward = make_runner(tiny_model("llama"), 512, kernels=kernels).forward
    assert isinstance(forward, CpuForward)
    return forward


def block_of(forward: CpuForward) -> RowBlock:
    runner = make_runner(tiny_model("llama"), 512, kernels=forward.kernels)
    cache = runner._new_cache(CAPACITY)
    cache.write_start = 4
    forward.reserve(CAPACITY)
    return RowBlock(torch.tensor([3, 191]), torch.tensor([4, 5]), cache, torch.zeros(2, 6))


def at(start: int) -> Change:
    def change(block: RowBlock) -> RowBlock:
        block.cache.write_start = start
        return block._replace(mask=torch.zeros(2, CAPACITY))

    return change


def with_storage(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def changed(block: RowBlock) -> RowBlock:
        block.cache.storage = change(block.cache.storage)
        return block

    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda block: block._replace(token_ids=torch.tensor([3, 192])), "a token id that the"),
        (lambda block: block._replace(token_ids=torch.tensor([-1, 3])), "a token id that the"),
        (lambda block: block._replace(positions=torch.tensor([4, CAPACITY])), "rotary table"),
        (lambda block: block._replace(positions=torch.tensor([-4, 5])), "rotary table"),
        (at(CAPACITY - 1), "rows that the cache has no room for"),
        (at(-1), "rows that the cache has no room for"),
        (lambda block: block._replace(mask=torch.zeros(2, CAPACITY + 1)), "more than the cache"),
        (lambda block: block._replace(mask=torch.zeros(1, 6)), r"\(2, 6\) float32"),
        (lambda block: block._replace(mask=torch.zeros(2, 6).double()), "torch.float64"),
        (lambda block: block._replace(mask=torch.zeros(6, 2).T), "one after the other"),
        (lambda block: block._replace(token_ids=torch.tensor([3, 4]).int()), "2 int64 numbers"),
        (lambda block: block._replace(positions=torch.tensor([4])), "2 int64 numbers"),
        (with_storage(lambda storage: storage[..., :-1, :].clone()), "float32 numbers one after"),
        (with_storage(lambda storage: storage.mT.contiguous().mT), "float32 numbers one after"),
        (with_storage(lambda storage: storage.bfloat16()), "torch.bfloat16"),
        (with_storage(lambda storage: storage[:2]), "the cache has 2 layers"),
    ],
)  # fmt: skip
def test_rows_outside_of_what_they_point_into_are_refused(
    change: Change, words: str, forward: CpuForward
) -> None:
    whole = forward([block_of(forward)], want_logits=True)
    assert whole is not None and bool(whole.isfinite().all())
    with pytest.raises(ValueError, match=words):
        forward([change(block_of(forward))], want_logits=True)


def test_a_bad_block_among_good_ones_is_refused(forward: CpuForward) -> None:
    bad = block_of(forward)._replace(token_ids=torch.tensor([3, 10**12]))
    with pytest.raises(ValueError, match="a token id that the embedding has no row for"):
        forward([block_of(forward), bad], want_logits=True)


@pytest.mark.parametrize("index", [-1, 16, 2**40])
@pytest.mark.parametrize("bits", [4, 16])
def test_rows_of_a_table_that_it_does_not_have_are_refused(
    index: int, bits: int, kernels: Kernels
) -> None:
    weight = torch.randn(16, 32)
    values = torch.zeros(16, 32, dtype=torch.uint8)
    grid = WeightGrid(values, torch.ones(16, 1), torch.ones(16, 1), 4)
    table = cpu_dense(kernels, weight, None) if bits == 16 else cpu_grid(kernels, grid, None)
    with pytest.raises(ValueError, match="a token id that the embedding has no row for"):
        table.rows(torch.tensor([0, 15, index]))


def test_products_of_rows_of_another_width_are_refused(kernels: Kernels) -> None:
    values = torch.zeros(16, 64, dtype=torch.uint8)
    layer = cpu_grid(kernels, WeightGrid(values, *torch.ones(2, 16, 2), 4), None)
    for rows in (torch.ones(2, 32), torch.ones(2, 64).double()):
        with pytest.raises(ValueError, match=r"the kernels take \(2, 64\) float32"):
            layer(rows)


def test_a_grid_whose_groups_do_not_fill_its_rows_is_left_to_others() -> None:
    values = torch.zeros(8, 32 * 129, dtype=torch.uint8)
    assert can_read_grid(WeightGrid(values, *torch.ones(2, 8, 129), 4))
    assert not can_read_grid(WeightGrid(values, *torch.ones(2, 8, 127), 4))


def test_a_layer_whose_bias_is_of_another_size_is_refused(kernels: Kernels) -> None:
    with pytest.raises(ValueError, match="32 bytes of bias and was given 28"):
        cpu_dense(kernels, torch.ones(8, 32), torch.ones(7))


def narrower(stack: LayerStack) -> LayerStack:
    """The last layer with a feed-forward of its own width, as a pruned model might have it."""
    *others, last = stack.layers
    small = replace(
        last, gate_up=DenseLinear(torch.ones(64, 64)), down=DenseLinear(torch.ones(64, 32))
    )
    return replace(stack, layers=(*others, small))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda shape, stack: (replace(shape, num_kv_heads=3), stack), "share 3 keys"),
        (lambda shape, stack: (replace(shape, num_kv_heads=0), stack), "share 0 keys"),
        (lambda shape, stack: (replace(shape, head_dim=0), stack), "heads of 0 numbers"),
        (lambda shape, stack: (replace(shape, head_dim=24), stack), r"layers.0.qkv .*\(192, 64\)"),
        (lambda shape, stack: (replace(shape, vocab_size=200), stack), r"head .*\(200, 64\)"),
        (lambda shape, stack: (shape, narrower(stack)), r"layers.2.gate_up .*\(192, 64\)"),
        (
            lambda shape, stack: (
                shape,
                replace(stack, embedding=DenseLinear(torch.ones(192, 32))),
            ),
            r"embedding .*\(192, 64\)",
        ),
        (
            lambda shape, stack: (shape, replace(stack, final_norm=torch.ones(32))),
            r"input_norm .*\(32,\)",
        ),
    ],
)
def test_a_stack_whose_weights_do_not_fit_each_other_is_refused(
    change: Callable[[Architecture, LayerStack], tuple[Architecture, LayerStack]],
    words: str,
    forward: CpuForward,
) -> None:
    check_sizes(forward.shape, forward.stack)
    with pytest.raises(ModelUnavailableError, match=words):
        check_sizes(*change(forward.shape, forward.stack))


def test_the_kernels_never_see_such_a_stack(forward: CpuForward) -> None:
    broken = forward.with_stack(narrower(forward.stack))
    with pytest.raises(ModelUnavailableError, match=r"layers\.2\.gate_up"):
        broken([block_of(forward)], want_logits=True)
