"""The most memory held between two moments, of this process and of others."""

import subprocess
import sys

import pytest
import torch

from core.runtime.peak_memory import OwnMemory, PeakMemory, ProcessMemory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a mark")
SIZE = 64 << 20


# In a process of its own: what a long test run frees meanwhile would hide the growth.
_GROW_AND_SHRINK = f"""
import torch
from core.runtime.peak_memory import OwnMemory
gauge = OwnMemory(torch.device("cpu"))
unset = gauge.peak().resident_bytes
gauge.reset()
before = gauge.peak().resident_bytes
held = bytearray(b"x" * {SIZE})
del held
grown = gauge.peak().resident_bytes
gauge.reset()
print(unset, before, grown, gauge.peak().resident_bytes, gauge.peak().gpu_bytes)
"""


def test_the_peak_is_that_since_the_last_reset() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _GROW_AND_SHRINK], capture_output=True, text=True, check=True
    ).stdout.split()
    assert (told[0], told[4]) == ("None", "None"), "no peak before the first reset, none of a GPU"
    if told[1] == "None":
        pytest.skip("this machine does not let the mark be set back")
    before, grown, after = map(int, told[1:4])
    assert grown >= before + SIZE // 2, "the mark stays when the memory is given back"
    assert after < grown


def test_a_mark_that_cannot_be_set_back_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.runtime.peak_memory._SET_BACK", "0")  # refused by the kernel
    gauge = OwnMemory(torch.device("cpu"))
    gauge.reset()
    assert gauge.peak() == PeakMemory()


def test_another_process_is_measured_with_its_children() -> None:
    child = f"held = bytearray(b'x' * {SIZE}); print('ready', flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    gauge = ProcessMemory(process.pid)
    gauge.reset()
    peak = gauge.peak().resident_bytes
    assert peak is None or peak > SIZE
    process.stdin.close()
    process.stdout.close()
    process.wait()
    assert gauge.peak() == PeakMemory()
