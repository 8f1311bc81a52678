"""Engines that answer in a process of their own through `workers/loop.py`, as data."""

from typing import Any, NamedTuple

# What transformers' own examples use.
LOOKUP_TOKENS = 10


class Way(NamedTuple):
    """One of the ways in which an engine can answer."""

    name: str
    """Stands behind the engine's; empty for plain decoding."""
    settings: dict[str, Any]
    """For its script."""


class Peer(NamedTuple):
    """An engine that some Python has, reads a GGUF file and decodes greedily."""

    script: str
    """In the folder `workers`."""
    package: str
    """What `pip install` is told."""
    arithmetic: str
    ways: tuple[Way, ...]


PEERS = {
    "llama-cpp": Peer(
        "llama_cpp_python.py",
        "llama-cpp-python",
        "llama.cpp's",
        (Way("", {"lookup_tokens": 0}), Way("lookup", {"lookup_tokens": LOOKUP_TOKENS})),
    ),
    "openvino": Peer(
        "openvino.py",
        "openvino-genai",
        "OpenVINO's",
        (
            Way("", {"lookup_tokens": 0}),
            Way("lookup", {"lookup_tokens": LOOKUP_TOKENS, "match_tokens": 3}),
        ),
    ),
}
