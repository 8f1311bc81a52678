"""Experts: each row passes those that a router chooses for it (Shazeer et al. 2017)."""

import torch

from core.backends.torch.activations import Inner
from core.backends.torch.weights import LayerWeights
from core.families.architecture import Experts


def add_experts(
    layer: LayerWeights,
    experts: Experts,
    inner: Inner,
    x: torch.Tensor,  # [rows, hidden]
    shared: torch.Tensor | None,  # [rows, hidden]
    *,
    has_one_shape: bool,
) -> torch.Tensor:
    """What a layer's experts make of the rows, beside what all rows pass  # [rows, hidden].

    A row's sum runs over its experts in their order, whatever rows are beside it. With
    `has_one_shape` an expert computes as many rows as there are, zeros for those of others, so that
    neither do its products hang on how many have chosen it.
    """
    chosen, shares = _routed(layer, experts, x)
    made = torch.zeros_like(x)
    for index in sorted(set(chosen.flatten().tolist())):
        rows, places = torch.where(chosen == index)
        share = shares[rows, places, None]
        given = x[rows] * share if experts.is_sigmoid else x[rows]
        if has_one_shape:
            given = torch.zeros_like(x).index_copy_(0, rows, given)
        expert = layer.experts[index]
        fed = expert.down(inner(expert.gate_up(given)))
        fed = fed[rows] if has_one_shape else fed
        made.index_add_(0, rows, fed if experts.is_sigmoid else fed * share)
    if shared is None:
        return made
    if layer.shared_scale is not None:
        shared = shared * torch.sigmoid(layer.shared_scale(x))
    return made + shared


def _routed(
    layer: LayerWeights, experts: Experts, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The chosen experts of each row, and their shares  # [rows, num_per_token] both."""
    assert layer.router is not None, "a layer with experts has one"
    scores = layer.router(x)
    best, chosen = scores.float().topk(experts.num_per_token, dim=-1)
    if experts.is_sigmoid:
        shares = best.sigmoid()
    elif experts.is_normalized:
        shares = best.softmax(dim=-1)
    else:
        shares = scores.float().softmax(dim=-1).gather(1, chosen)
    return chosen, shares.to(x.dtype)
