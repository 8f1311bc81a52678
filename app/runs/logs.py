"""Log lines as JSON objects; what belongs to a run carries its id."""

import logging
from datetime import UTC, datetime
from typing import Any

from core.runtime.strict_json import dumps

_FIELDS = "fields"


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, the fields given, and a stack trace if any."""

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            values["stack"] = self.formatException(record.exc_info)
        return dumps(values, default=str)


def fields(**values: Any) -> dict[str, Any]:
    """For the `extra` of a logging call."""
    return {_FIELDS: values}
