"""A Ray cluster that workers are put on: how it is joined, and what each worker gets of it."""

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import InvalidSettingError

# As the address of a cluster: one that is started here and ends with the command.
LOCAL = "local"
_CONNECT_S = 10.0
_CODE = Path(__file__).parents[1]


class Cluster(NamedTuple):
    """The Ray cluster that is asked for."""

    address: str
    num_workers: int | None
    """None takes one a node, or one a GPU."""
    wants_gpu: bool | None
    """None takes GPUs where there are any."""


class Share(NamedTuple):
    """How many workers there are, and what each gets: all alike, so that they do as much."""

    num_workers: int
    resources: dict[str, float]
    """Of one worker, in Ray's words."""


def connect(cluster: Cluster, packages: Sequence[Path] = ()) -> Any:
    """The module `ray`, joined to the cluster until its `shutdown`. Machines of the cluster need not
    have this program: `core` and `packages` are sent there; what these import they must have.

    Raises InvalidSettingError where Ray is not installed or the cluster is not there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InvalidSettingError(
            "ray is not installed; install requirements-ray.txt, or leave --ray out."
        ) from error
    sent = {"py_modules": [str(_CODE), *map(str, packages)], "excludes": ["__pycache__"]}
    try:
        _check_reachable(cluster.address)
        ray.init(
            address=cluster.address,
            include_dashboard=False if cluster.address == LOCAL else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=None if cluster.address == LOCAL else sent,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidSettingError(
            f"there is no Ray cluster at {cluster.address} ({str(error).splitlines()[0].rstrip('.')}); "
            "give the address of one, or --ray alone to start one here."
        ) from error
    return ray


def _check_reachable(address: str) -> None:
    """Raises OSError where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def share_of(ray: Any, cluster: Cluster) -> Share:
    """What a worker gets; raises InvalidSettingError where the cluster cannot give it."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    if not cpus:
        raise InvalidSettingError("the Ray cluster has no CPU to give; start a node with some.")
    num_gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if cluster.wants_gpu and not num_gpus:
        raise InvalidSettingError(
            "the Ray cluster has no GPU; give --device cpu, or --workers a number."
        )
    if cluster.wants_gpu is False:
        num_gpus = 0
    wanted = cluster.num_workers or num_gpus or len(cpus)
    # As many CPUs each as leave room for all of them on the nodes that there are.
    share = next(
        (size for size in range(max(cpus), 0, -1) if sum(cpu // size for cpu in cpus) >= wanted), 0
    )
    if not share:
        raise InvalidSettingError(
            f"workers is {wanted} and the Ray cluster has {sum(cpus)} CPUs; give at most that many."
        )
    gpus = {"num_gpus": min(1.0, num_gpus / wanted)} if num_gpus else {}
    return Share(wanted, {"num_cpus": share, **gpus})
