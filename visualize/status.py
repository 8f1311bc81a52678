"""What became of every drafted node."""

from typing import Literal

from core.trace.events import Accepted

NodeStatus = Literal["root", "accepted", "rejected", "untested"]


def node_statuses(num_nodes: int, accepted: Accepted) -> list[NodeStatus]:
    """Status of every node of a step's tree, by node index; node 0 is the root."""
    statuses: list[NodeStatus] = ["untested"] * num_nodes
    for node in accepted.tested:
        statuses[node] = "rejected"
    for node in accepted.path:
        statuses[node] = "accepted"
    statuses[0] = "root"
    return statuses
