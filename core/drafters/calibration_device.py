"""Calibration on a device: the chances of all children at once, and what was learned in a buffer."""

import torch

from core.backends.cuda.host_buffers import TwoHostBuffers
from core.drafters.calibration import NUM_BINS, NUM_RANKS, PRIOR_RATES, PRIOR_WEIGHT


def chances(
    probs: torch.Tensor,  # [rows, count] float64
    tables: torch.Tensor,  # [2, ranks, bins] float64
    *,
    prob_is_chance: bool,
) -> torch.Tensor:
    """`Calibration.chance` of all children at once, best first in every row  # [rows, count]."""
    ranks = torch.arange(probs.shape[1], device=probs.device).clamp(max=NUM_RANKS - 1)
    bins = (probs * NUM_BINS).long().clamp(min=0, max=NUM_BINS - 1)  # NaN is any whole number
    if prob_is_chance:
        prior = probs
    else:
        prior = torch.full_like(probs, PRIOR_RATES[-1])
        for rank, rate in enumerate(PRIOR_RATES[:-1]):
            prior = torch.where(ranks == rank, rate, prior)
    places = (ranks * NUM_BINS + bins).flatten()
    accepted, judged = tables.flatten(1).index_select(1, places).view(2, *probs.shape).unbind(0)
    return (accepted + PRIOR_WEIGHT * prior) / (judged + PRIOR_WEIGHT)


class DeviceTables:
    """`Calibration.tables` in a static buffer, which captured graphs read."""

    def __init__(self, device: torch.device):
        shape = (2, NUM_RANKS, NUM_BINS)
        self.tables = torch.zeros(shape, dtype=torch.float64, device=device)
        self._hosts = TwoHostBuffers(shape, torch.float64, device)

    def set(self, tables: list[list[list[float]]]) -> None:
        """Takes over what the host learned; of three in a row the first is there at the last."""
        host = self._hosts.next()
        host.numpy()[:] = tables
        self.tables.copy_(host, non_blocking=True)
