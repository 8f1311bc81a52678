"""What a new run is called, and when something happened, as traces and reports write it."""

import datetime
import secrets


def new_run_id() -> str:
    """One that nobody guesses and no other run has."""
    return secrets.token_urlsafe(12)


def utc_now() -> str:
    """To the second, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
