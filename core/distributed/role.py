"""Which of the processes that torchrun started this one is."""

import os


def num_ranks() -> int:
    """Processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_follower() -> bool:
    """Whether this process is another than the first, which runs the command for all."""
    return int(os.environ.get("RANK", "0")) > 0


def follow(device: str | None) -> int:
    """Computes what the first process tells until it ends; returns an exit status."""
    from core.distributed.follower import obey_all

    return obey_all(device or "cpu")
