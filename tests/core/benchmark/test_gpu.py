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


@pytest.mark.parametrize(
    ("tables", "refusal"), [("costs", "needs --models"), ("speeds", "there is no table 'speeds'")]
)
def test_tables_without_models_and_unknown_ones_are_refused(
    tables: str, refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--tables", tables]) == 2
    assert refusal in capsys.readouterr().err
