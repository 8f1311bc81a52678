"""Keeps transformers' bars and advice from coming between the lines of a command's output."""

import os


def quiet_transformers() -> None:
    """Called before anything is read with transformers; its errors still come as exceptions."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
