"""The first event of a profile, of which tests name what they are about."""

from typing import Any

from core.trace.events import ProfileStarted


def profile_started(config: dict[str, Any], **changes: Any) -> ProfileStarted:
    """Of a drafter that proposes trees of chances, on a machine whose forwards take few milliseconds."""
    values: dict[str, Any] = {
        "drafter": "scripted",
        "draft": None,
        "prob_is_chance": True,
        "in_one_pass": False,
        "reads_emitted": False,
        "can_branch": True,
        "device_steps": False,
        "context_limit": 10_000,
        "end_token_ids": [],
        "forward_rows": [1, 64],
        "forward_s": [0.012, 0.1],
        "draft_s": [0.001, 0.001],
    }
    return ProfileStarted(
        step=0, t_start_s=0.0, t_end_s=0.0, config=config, **{**values, **changes}
    )
