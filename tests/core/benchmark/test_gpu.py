"""The command of the GPU's tables where there is no GPU."""

from pathlib import Path

import pytest
import torch

from core.benchmark.gpu import main


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--models", str(tmp_path)]) == 2
    assert "no CUDA GPU" in capsys.readouterr().err
