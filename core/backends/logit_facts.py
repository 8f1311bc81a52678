"""Finds what is told of rows of logits: the largest, the sum of all, the entropy.

Where compiled kernels are loaded they read logits in the host's memory, and their own as they make them;
else torch does, on any device. A test holds both equal.
"""

import math
from typing import NamedTuple

import torch

from core.backends.cpu.library import Kernels, loaded_kernels
from core.backends.cpu.linear import CpuLinear
from core.backends.logits import BLOCK, LogitFacts, block_maxima, first_argmax


class FactTensors(NamedTuple):
    """The facts on a device."""

    top_ids: torch.Tensor  # [rows, k]
    top_logits: torch.Tensor  # [rows, k]
    log_totals: torch.Tensor  # [rows]
    entropies: torch.Tensor  # [rows]


def note_facts(
    logits: torch.Tensor,  # [rows, vocab]
    facts: LogitFacts,
) -> None:
    """Keeps with logits what was found as they were made, for as long as they are there."""
    logits.noted_facts = facts  # type: ignore[attr-defined]


def part_with_facts(
    logits: torch.Tensor,  # [rows, vocab]
    rows: slice,
) -> torch.Tensor:
    """Some of the rows, with what was noted of them  # [some rows, vocab]"""
    part = logits[rows]
    noted: LogitFacts | None = getattr(logits, "noted_facts", None)
    if noted is not None:
        note_facts(part, noted.of_rows(rows))
    return part


def corrected_logits(
    linear: CpuLinear,
    x: torch.Tensor,  # [rows, in_features]
    shared: torch.Tensor,  # [vocab]
) -> torch.Tensor:
    """Logits that all rows share with the layer's product with each row added, and their facts noted
    # [rows, vocab]"""
    logits = torch.empty(len(x), len(shared))
    facts = linear.kernels.corrected_logits(linear.struct, x.contiguous(), shared, logits)
    note_facts(logits, facts)
    return logits


def kernels_for(
    logits: torch.Tensor,  # [rows, vocab]
) -> Kernels | None:
    """The compiled kernels, where they are loaded and read these logits."""
    is_read = logits.device.type == "cpu" and logits.dtype == torch.float32
    return loaded_kernels() if is_read and logits.is_contiguous() else None


def facts_of(
    logits: torch.Tensor,  # [rows, vocab] float32
    k: int,
) -> LogitFacts:
    """Facts of the `k` largest, or of all there are."""
    k = min(k, logits.shape[-1])
    noted: LogitFacts | None = getattr(logits, "noted_facts", None)
    if noted is not None and len(noted.top_ids[0]) >= k:
        return noted if len(noted.top_ids[0]) == k else noted.of_largest(k)
    kernels = kernels_for(logits)
    if kernels is not None:
        return kernels.logit_facts(logits, k)
    ids, values = best_first(logits, k)
    sums = _sums_of(logits, values[:, :1], torch.empty_like(logits))
    # One read from the device for all numbers.
    rows = torch.cat([values, *(part[:, None] for part in sums)], dim=-1).tolist()
    top_logits, log_totals = [row[:k] for row in rows], [row[k] for row in rows]
    entropies = [row[k + 1] for row in rows]
    if any(map(math.isnan, entropies)):  # the model excludes tokens
        finite = without_infinity(logits)
        entropies = _sums_of(finite, values[:, :1], torch.empty_like(logits)).entropies.tolist()
    return LogitFacts(
        ids.tolist(),
        top_logits,
        [
            [math.exp(value - total) for value in row]
            for row, total in zip(top_logits, log_totals, strict=True)
        ],
        log_totals,
        entropies,
    )


def best_first(
    logits: torch.Tensor,  # [rows, vocab]
    k: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and values of the k largest, or of all; of tied ones, common in bf16, the best is the one that
    argmax takes  # [rows, k] both"""
    ids = first_argmax(logits)[:, None]
    values = logits.gather(-1, ids)
    if k == 1:
        return ids, values
    # Where all others are excluded the best comes again, as one of them.
    others = logits.scatter(-1, ids, -torch.inf).topk(min(k, logits.shape[-1]) - 1)
    return torch.cat([ids, others.indices], dim=-1), torch.cat([values, others.values], dim=-1)


def fact_tensors(
    logits: torch.Tensor,  # [rows, vocab] float32
    k: int,
    work: torch.Tensor,  # [rows, vocab] float32
) -> FactTensors:
    """Facts of the `k` largest on the device, as captured graphs can compute them; `work` is written
    over.

    An entropy is NaN where a logit is minus infinity; `without_infinity` comes before.
    """
    top_logits, top_ids = _top_k(logits, k)
    return FactTensors(top_ids, top_logits, *_sums_of(logits, top_logits[:, :1], work))


class _Sums(NamedTuple):
    log_totals: torch.Tensor  # [rows]
    entropies: torch.Tensor  # [rows]


def _sums_of(
    logits: torch.Tensor,  # [rows, vocab]
    highest: torch.Tensor,  # [rows, 1]
    work: torch.Tensor,  # [rows, vocab]
) -> _Sums:
    torch.sub(logits, highest, out=work).exp_()
    total = work.sum(dim=-1)  # [rows]
    mean_logit = torch.linalg.vecdot(work, logits) / total
    log_total = total.log() + highest[:, 0]  # [rows]
    return _Sums(log_total, log_total - mean_logit)


def without_infinity(
    logits: torch.Tensor,  # [rows, vocab]
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The lowest number in place of minus infinity, which times no probability would be no number
    # [rows, vocab]"""
    return torch.clamp(logits, min=torch.finfo(logits.dtype).min, out=out)


def _top_k(
    logits: torch.Tensor,  # [rows, vocab]
    k: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids of the k largest logits of each row, best first  # [rows, k] both."""
    rows, vocab_size = logits.shape
    k = min(k, vocab_size)
    if vocab_size % BLOCK or vocab_size // BLOCK <= k or not logits.is_contiguous():
        return logits.topk(k, dim=-1)
    best_blocks = block_maxima(logits).topk(k, dim=-1).indices  # [rows, k]
    blocks = logits.view(rows, -1, BLOCK)
    inside = blocks.gather(1, best_blocks[:, :, None].expand(-1, -1, BLOCK)).view(rows, -1)
    values, places = inside.topk(k, dim=-1)
    ids = best_blocks.gather(1, places // BLOCK) * BLOCK + places % BLOCK
    return values, ids
