"""The compiled kernels in tests, skipped where no compiler is."""

import pytest

from core.backends.cpu.library import Kernels, load_kernels
from core.errors import InvalidSettingError, KernelsUnavailableError
from core.runtime.processor import LEVELS, SETTING
from core.runtime.storage import no_progress


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    """Compiled with the compiler that the program itself would take."""
    try:
        return load_kernels(no_progress)
    except KernelsUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=LEVELS)
def kernels_of_each_level(request: pytest.FixtureRequest) -> Kernels:
    """Compiled for this processor, and for lesser ones, whose code it runs as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SETTING, request.param)
        try:
            return load_kernels(no_progress)
        except (KernelsUnavailableError, InvalidSettingError) as error:
            pytest.skip(str(error))
