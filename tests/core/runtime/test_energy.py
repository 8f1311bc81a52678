"""Counters of energy: what is read of the machine's files, and what is told where there are none."""

from pathlib import Path

import pytest
import torch

from core.runtime.energy import EnergyMeter, find_energy_meter

CPU = torch.device("cpu")


def zone(powercap: Path, place: str, name: str, microjoules: int) -> Path:
    folder = powercap / f"intel-rapl:{place}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n", encoding="ascii")
    (folder / "max_energy_range_uj").write_text("1000000000\n", encoding="ascii")
    (folder / "energy_uj").write_text(f"{microjoules}\n", encoding="ascii")
    return folder


def count(folder: Path, microjoules: int) -> None:
    (folder / "energy_uj").write_text(f"{microjoules}\n", encoding="ascii")


def test_packages_and_their_memory_are_added_up_and_what_lies_in_a_package_is_not(
    tmp_path: Path,
) -> None:
    package = zone(tmp_path, "0", "package-0", 5_000_000)
    core = zone(tmp_path, "0:0", "core", 1_000_000)
    memory = zone(tmp_path, "0:1", "dram", 2_000_000)
    meter = find_energy_meter(CPU, tmp_path)
    meter.start()
    count(package, 8_000_000)
    count(core, 3_000_000)
    count(memory, 2_500_000)
    assert meter.stop_j() == pytest.approx(3.5)
    assert meter.description == "RAPL package-0, RAPL dram"


def test_a_counter_that_began_anew_in_between_is_understood(tmp_path: Path) -> None:
    package = zone(tmp_path, "0", "package-0", 999_000_000)
    meter = find_energy_meter(CPU, tmp_path)
    meter.start()
    count(package, 2_000_000)
    assert meter.stop_j() == pytest.approx(3.0)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    meter = find_energy_meter(CPU, tmp_path)
    meter.start()
    assert meter.stop_j() is None
    assert f"{tmp_path} has no RAPL zone" in meter.description


def test_counters_that_may_not_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone(tmp_path, "0", "package-0", 1)
    read_text = Path.read_text

    def refused(path: Path, *args: str, **kwargs: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refused)
    assert "energy_uj may be read by root alone" in find_energy_meter(CPU, tmp_path).description


def test_a_counter_that_goes_away_gives_nothing_instead_of_a_wrong_number(tmp_path: Path) -> None:
    package = zone(tmp_path, "0", "package-0", 1)
    meter = find_energy_meter(CPU, tmp_path)
    meter.start()
    (package / "energy_uj").unlink()
    assert meter.stop_j() is None


@pytest.mark.gpu
def test_a_gpu_counts_its_energy() -> None:
    device = torch.device("cuda")
    meter: EnergyMeter = find_energy_meter(device)
    meter.start()
    square = torch.ones(4096, 4096, device=device)
    for _ in range(500):
        square = square @ square / 4096
    torch.cuda.synchronize()
    joules = meter.stop_j()
    assert joules is not None and joules > 0
    assert "NVML GPU" in meter.description
