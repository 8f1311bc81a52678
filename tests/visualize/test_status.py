from core.trace.events import Accepted
from visualize.status import node_statuses


def test_status_follows_path_and_tested() -> None:
    accepted = Accepted(
        step=1,
        t_start_s=0.0,
        t_end_s=0.0,
        path=[2, 4],
        tested=[1, 2, 4, 5],
        next_token_id=9,
        next_source="recovered",
        next_prob=0.5,
    )
    assert node_statuses(7, accepted) == [
        "root",
        "rejected",
        "accepted",
        "untested",
        "accepted",
        "rejected",
        "untested",
    ]
