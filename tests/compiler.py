"""The compiled kernels in tests, skipped where no compiler is."""

import pytest

from core.errors import KernelsUnavailableError
from core.lean.native.library import Kernels, load_kernels
from core.models.storage import no_progress


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    """Compiled with the compiler that the program itself would take."""
    try:
        return load_kernels(no_progress)
    except KernelsUnavailableError as error:
        pytest.skip(str(error))
