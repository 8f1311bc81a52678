"""The energy that processor and GPU take, from the counters of the machine where they can be read.

Counters count for the whole machine: whatever else runs at the time is in them.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

POWERCAP = Path("/sys/class/powercap")


class EnergyCounter(Protocol):
    """A counter that only grows, until it begins anew."""

    name: str
    range_j: float
    """Where it begins anew; infinite for one that never does."""

    def read_j(self) -> float:
        """Joules so far; raises OSError where it cannot be read."""
        ...


class RaplCounter:
    """A zone of the powercap framework: a processor package or its memory (Intel RAPL, AMD)."""

    def __init__(self, zone: Path):
        """Raises OSError where the zone cannot be read."""
        self.name = f"RAPL {(zone / 'name').read_text(encoding='ascii').strip()}"
        self.range_j = int((zone / "max_energy_range_uj").read_text(encoding="ascii")) / 1e6
        self._path = zone / "energy_uj"
        self.read_j()

    def read_j(self) -> float:
        """See `EnergyCounter.read_j`."""
        return int(self._path.read_text(encoding="ascii")) / 1e6


class NvmlCounter:
    """A GPU's own counter, by NVIDIA's management library."""

    range_j = math.inf

    def __init__(self, nvml: Any, device: torch.device):
        """`nvml` is the module `pynvml`; raises OSError where the GPU does not count."""
        self.name = f"NVML GPU {device.index or 0}"
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            # By its own name: the numbers of CUDA_VISIBLE_DEVICES are not NVML's.
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            self._handle = nvml.nvmlDeviceGetHandleByUUID(uuid.encode())
        except nvml.NVMLError as error:
            raise OSError(str(error)) from error
        self.read_j()

    def read_j(self) -> float:
        """See `EnergyCounter.read_j`."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        except self._nvml.NVMLError as error:
            raise OSError(str(error)) from error


class EnergyMeter:
    """Adds up the counters between `start` and `stop`."""

    def __init__(self, counters: Sequence[EnergyCounter], missing: str = ""):
        """`missing` says why a counter that one would look for is not there."""
        self.missing = missing
        self._counters = list(counters)
        self._starts_j: list[float] = []

    @property
    def description(self) -> str:
        """What is counted, or why nothing is."""
        names = ", ".join(counter.name for counter in self._counters)
        return "; ".join(part for part in (names, self.missing) if part)

    def start(self) -> None:
        """From now on."""
        self._starts_j = self._read_j()

    def stop_j(self) -> float | None:
        """Joules since `start`; None where nothing counts."""
        ends_j = self._read_j()
        if not ends_j or len(ends_j) != len(self._starts_j):
            return None
        return sum(
            end_j - start_j if end_j >= start_j else end_j - start_j + counter.range_j
            for counter, start_j, end_j in zip(self._counters, self._starts_j, ends_j, strict=True)
        )

    def _read_j(self) -> list[float]:
        """Of all counters; empty where one of them stopped answering."""
        try:
            return [counter.read_j() for counter in self._counters]
        except OSError:
            return []


def find_energy_meter(device: torch.device, powercap: Path = POWERCAP) -> EnergyMeter:
    """A meter over the processor's counters and, on CUDA, the GPU's; empty where there are none."""
    counters: list[EnergyCounter] = []
    reasons = []
    try:
        counters += _rapl_counters(powercap)
    except OSError as error:
        reasons.append(f"no energy of the processor: {error}")
    if device.type == "cuda":
        try:
            counters.append(_nvml_counter(device))
        except (OSError, ImportError) as error:
            reasons.append(f"no energy of the GPU: {error}")
    return EnergyMeter(counters, "; ".join(reasons))


def _rapl_counters(powercap: Path) -> Sequence[EnergyCounter]:
    """Packages and their memory; other zones lie inside a package and would count twice."""
    zones = sorted(path for path in powercap.glob("intel-rapl:*") if _is_apart(path))
    if not zones:
        raise OSError(f"{powercap} has no RAPL zone")
    try:
        return [RaplCounter(zone) for zone in zones]
    except PermissionError as error:
        raise OSError(f"{error.filename} may be read by root alone") from error


def _is_apart(zone: Path) -> bool:
    name = (zone / "name").read_text(encoding="ascii").strip()
    return name.startswith("package") or name == "dram"


def _nvml_counter(device: torch.device) -> NvmlCounter:
    import pynvml

    return NvmlCounter(pynvml, device)
