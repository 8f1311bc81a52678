"""A tiny target as other programs see it."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.benchmark.outside.peer_target import PeerTarget, peer_target
from core.config import RunConfig
from core.models.sources import find_model
from core.runtime.storage import no_progress


@pytest.fixture(scope="session")
def config(tiny_home: Path) -> RunConfig:
    """That of plain decoding."""
    return RunConfig(target=str(tiny_home / "target"), dtype="float32", max_new_tokens=4)


@pytest.fixture(scope="session")
def target(config: RunConfig) -> PeerTarget:
    return peer_target(find_model(config.target, no_progress), config)


@pytest.fixture(scope="session")
def gguf_target(target: PeerTarget) -> PeerTarget:
    """The same with a file, which is not there."""
    return replace(target, source=replace(target.source, gguf=Path("model.gguf")))
