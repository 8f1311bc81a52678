"""The parts for few rows, with a kernel of torch's operations in the place of the one for CUDA: every
family is put together of them as the eager forward computes it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from core.backends.cuda import few_rows
from core.backends.cuda.kernels.kernel import Addend, Heads, Norm, Residual
from core.backends.cuda.kernels.variant import DENSE_BITS, Weight
from core.backends.torch.activations import inner_of
from core.backends.torch.linear import DenseLinear
from tests.core.backends.cuda.test_forward import DENSE, check_trees
from tests.core.families.family_configs import LAYER_NORMED


def multiply_rows(
    x: torch.Tensor,
    weight: Weight,
    *,
    norm: Norm | None = None,
    addend: Addend | None = None,
    residual: Residual | None = None,
    gate: str | None = None,
    heads: Heads | None = None,
    following: object = None,
) -> torch.Tensor:
    """As the kernel computes it."""
    if addend is not None:
        own = F.rms_norm(addend.rows, x.shape[-1:], addend.norm.weight, addend.norm.eps)
        x = addend.totals.copy_(x + addend.scale * own)
    if norm is not None:
        x = F.rms_norm(x, x.shape[-1:], norm.weight, norm.eps)
    product = F.linear(x, weight.data, weight.bias)
    if gate is not None:
        return inner_of(gate, is_gated=True)(product)
    if heads is not None:
        cos, sin, _, storage, slots = heads.places
        num_kv_heads, dim = storage.shape[1], storage.shape[-1]
        split = product.view(len(x), -1, dim)
        queries, keys, values = split.split([heads.num_heads, num_kv_heads, num_kv_heads], dim=1)
        queries, keys = (each * cos + each.roll(dim // 2, -1) * sin for each in (queries, keys))
        storage.index_copy_(2, slots, torch.stack([keys, values]).transpose(1, 2))
        return queries.flatten(1)
    return product if residual is None else residual.rows + residual.scale * product


def weight_of(linear: Any) -> Weight:
    assert isinstance(linear, DenseLinear)
    return Weight(
        linear.weight, DENSE_BITS, 128, linear.in_features, linear.out_features, linear.bias
    )


@pytest.mark.parametrize("most_down", [8, 1], ids=["", "down is torch's"])
@pytest.mark.parametrize("family", DENSE)
def test_every_family_is_made_of_the_kernels_parts(
    family: str, most_down: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def counted(x: torch.Tensor, *given: Any, **how: Any) -> torch.Tensor:
        computed.append(len(x))
        return multiply_rows(x, *given, **how)

    def rows_at_once(weight: Weight, dtype: torch.dtype) -> int:
        return most_down if weight.num_inputs == 128 else 8

    monkeypatch.setattr(few_rows, "multiply_rows", counted)
    monkeypatch.setattr(few_rows, "weight_of", weight_of)
    monkeypatch.setattr(few_rows, "rows_at_once", rows_at_once)
    check_trees(family)
    if family in LAYER_NORMED:  # the head as well
        assert computed == []
    else:
        assert set(computed) == {6, 4, 1}, "ten rows are no few"
