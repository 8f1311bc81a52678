"""Real processes that are killed in the middle of their work."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300


def start(home: Path, *words: str) -> "subprocess.Popen[str]":
    """A command of the program with a cache folder of its own."""
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "SPECDECODES_HOME": str(home), "GRADIO_ANALYTICS_ENABLED": "False"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_once(process: "subprocess.Popen[str]", is_time: Callable[[], bool]) -> None:
    """Kills as soon as the moment has come; the command must not have ended before."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_time():
        assert process.poll() is None, f"it ended by itself: {process.communicate()[0]}"
        assert time.monotonic() < deadline_s, "the moment never came"
        time.sleep(0.005)
    process.kill()
    process.wait()


def finish(home: Path, *words: str) -> str:
    """Runs a command to its end, which must be a good one; what it printed."""
    process = start(home, *words)
    printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, printed
    return printed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(home: Path, target: str, *words: str) -> tuple["subprocess.Popen[str]", str]:
    """The page on a free port, once it has told its addresses."""
    port = free_port()
    process = start(home, "app.py", "--port", str(port), "--target", target, *words)
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("Programs for OpenAI's API take"):
            return process, f"http://127.0.0.1:{port}"
    raise AssertionError(f"the page did not start: {printed}")
