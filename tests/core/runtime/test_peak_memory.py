"""The most memory held between two moments, of this process and of others."""

import subprocess
import sys

import pytest
import torch

from core.runtime.peak_memory import OwnMemory, PeakMemory, ProcessMemory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a mark")
SIZE = 64 << 20


def test_the_peak_is_that_since_the_last_reset() -> None:
    gauge = OwnMemory(torch.device("cpu"))
    gauge.reset()
    before = gauge.peak().resident_bytes
    held = bytearray(b"x" * SIZE)
    del held
    with_it = gauge.peak().resident_bytes
    gauge.reset()
    after = gauge.peak().resident_bytes
    assert before is not None and with_it is not None and after is not None
    assert with_it >= before + SIZE // 2, "the mark stays when the memory is given back"
    assert after < with_it
    assert gauge.peak().gpu_bytes is None


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
    assert (gauge.peak().resident_bytes or 0) > SIZE
    process.stdin.close()
    process.stdout.close()
    process.wait()
    assert gauge.peak() == PeakMemory()
