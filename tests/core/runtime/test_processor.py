"""One setting says how far the processor is used."""

import pytest
import torch

from core.backends.cpu.build import built_library
from core.errors import InvalidSettingError
from core.loading.loading import default_dtype
from core.runtime.environment import describe_device
from core.runtime.processor import SETTING, tuning_flag
from core.runtime.storage import no_progress

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("level", "x86_flag"), [("native", "-march=native"), ("avx2", "-march=x86-64-v3")]
)
def test_the_compiler_is_told_the_level(
    level: str, x86_flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, level)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    assert tuning_flag() == x86_flag


@pytest.mark.parametrize("has_it", [True, False])
def test_the_default_number_format_lets_no_draft_change_the_text(
    has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: has_it)
    assert default_dtype(CPU) == "float32"


def test_kernels_of_two_levels_are_two_libraries(kernels: object, monkeypatch) -> None:
    monkeypatch.setenv(SETTING, "native")
    usual = built_library(no_progress)
    monkeypatch.setenv(SETTING, "portable")
    assert built_library(no_progress) != usual


def test_a_limited_processor_is_described_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "native")
    unlimited = describe_device(CPU)
    monkeypatch.setenv(SETTING, "portable")
    assert describe_device(CPU) == f"{unlimited}, portable instructions"


def test_what_is_no_level_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "fast")
    with pytest.raises(InvalidSettingError, match=r"is 'fast'; give native, avx2, portable"):
        tuning_flag()


def test_what_the_processor_lacks_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SETTING, "avx2")
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(InvalidSettingError, match="lacks; give portable"):
        tuning_flag()
