"""What tests of published drafters ask of every run."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _modes_of_torch() -> Iterator[None]:
    """A run that left torch without gradients would be in the way of whoever trains next."""
    yield
    assert torch.is_grad_enabled()
