"""The target of published drafters, and what their tests ask of every run."""

from collections.abc import Iterator

import pytest
import torch

from core.backends.cpu.library import Kernels
from core.engine import Engine
from core.loading.loading import LoadedModel
from tests.formats.published import decide_on_device, load_target


@pytest.fixture(autouse=True)
def _modes_of_torch() -> Iterator[None]:
    """A run that left torch without gradients would be in the way of whoever trains next."""
    yield
    assert torch.is_grad_enabled()


@pytest.fixture(scope="module", params=["eager", "kernels", "steps of the device"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kernels: Kernels
) -> Engine:
    folder = tmp_path_factory.mktemp("formats") / "target"
    made = Engine(load_target(folder, compile=request.param == "kernels"))
    if request.param == "steps of the device":
        decide_on_device(made)
    return made


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_target(tmp_path_factory.mktemp("formats") / "target", compile=False)
