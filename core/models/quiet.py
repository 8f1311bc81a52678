"""Keeps other libraries' bars and advice from coming between the lines of a command's output.

Where a bar is wanted `core.models.progress_bar` draws it, and only on a terminal.
"""

import os
from functools import partial


def quiet_transformers() -> None:
    """Called before anything is read with transformers; its errors still come as exceptions."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def quiet_gguf_reader() -> None:
    """Called before transformers reads a GGUF file: that bar does not ask its settings."""
    from transformers import modeling_gguf_pytorch_utils as reader

    bar = getattr(reader, "tqdm", None)
    if bar is not None and not isinstance(bar, partial):
        vars(reader)["tqdm"] = partial(bar, disable=True)


def quiet_hub() -> None:
    """Called before anything is fetched from the hub."""
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
