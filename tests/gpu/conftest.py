"""Engines on the GPU."""

import pytest
import torch

from core.engine import Engine
from core.loading.loading import load_model
from tests.core.conftest import tiny_home  # noqa: F401


@pytest.fixture(scope="module")
def engines(tiny_home) -> tuple[Engine, Engine]:  # noqa: F811
    """Two engines in float32: the host decides the steps of one, eagerly."""
    torch.backends.cuda.matmul.allow_tf32 = False

    def load(compile: bool) -> Engine:
        name = str(tiny_home / "target")
        return Engine(load_model(name, dtype="float32", device="cuda", compile=compile))

    return load(False), load(True)
