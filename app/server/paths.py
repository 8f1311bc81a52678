"""Where the page's own files lie, on disk and in addresses."""

from pathlib import Path

STATIC = Path(__file__).parents[1] / "static"
PREFIX = "specdecodes"
