"""Events as the page reads them: the trace's own dicts, with floats cut to what a page can show."""

from typing import Any

from core.config import lossy_rule
from core.events import Event, RunStarted


def event_for_page(event: Event) -> dict[str, Any]:
    """The event's dict with short floats; the start comes without the prompt's ids, and says
    whether its acceptance rule is a lossy one."""
    values = {name: _short(value) for name, value in event.to_dict().items()}
    if isinstance(event, RunStarted):
        values["prompt_token_ids"] = []  # long, and the page shows none of them
        values["lossy_rule"] = lossy_rule(event.config)
    return values


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value
