"""Several processes at one job, as torchrun starts them; alone without it."""

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist

from core.errors import InvalidSettingError

# Ranks wait for each other's slowest round or compilation.
_PATIENCE = timedelta(minutes=30)


class Rank(NamedTuple):
    """This process among all."""

    number: int
    num_ranks: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.number == 0


def join_ranks(device: str) -> Rank:
    """Reads torchrun's environment and joins the others; a GPU each on cuda.

    Raises InvalidSettingError where there are fewer GPUs than processes.
    """
    index, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        if torch.cuda.device_count() <= local:
            raise InvalidSettingError(
                f"process {local} has no GPU of its own, {torch.cuda.device_count()} are here; "
                "start fewer processes, or give --device cpu."
            )
        torch.cuda.set_device(local)
    if count > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    return Rank(
        index, count, torch.device(device, local) if device == "cuda" else torch.device(device)
    )


def wait_for_all(rank: Rank) -> None:
    """Returns when every process is here."""
    if rank.num_ranks > 1:
        dist.barrier()


def average_gradients(parameters: Iterable[torch.nn.Parameter], rank: Rank) -> None:
    """Replaces every gradient by its mean over the processes."""
    if rank.num_ranks == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= rank.num_ranks
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def agree(value: float, rank: Rank) -> float:
    """The first process's value, for decisions that all must take alike."""
    if rank.num_ranks == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=rank.device)
    dist.broadcast(shared, 0)
    return float(shared)


def leave_ranks(rank: Rank) -> None:
    """Ends what `join_ranks` began."""
    if rank.num_ranks > 1:
        dist.destroy_process_group()
