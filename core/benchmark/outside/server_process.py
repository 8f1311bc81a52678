"""A server program that is started for a comparison and ended with it."""

import atexit
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import httpx

from core.errors import InvalidSettingError
from core.runtime.storage import Progress

HOST = "127.0.0.1"
# Large models are read and compiled for minutes.
_LONGEST_START_S = 900.0
_POLL_S = 0.2
_NOTHING_ELSE: Mapping[str, str] = MappingProxyType({})


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


class ServerProcess:
    """The running program; ended when Python ends, with all that it started."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] = _NOTHING_ELSE
    ):
        """`environment` is added to ours. Raises InvalidSettingError where the program cannot be
        started."""
        self._name = name
        # What it prints is read only where it fails; a pipe that nobody reads would stop it.
        self._output = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        except OSError as error:
            raise InvalidSettingError(
                f"{command[0]} cannot be started ({error.strerror}); give --with {name}=PATH or "
                f"{name}=URL, or leave {name} out."
            ) from error
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self, client: httpx.Client, progress: Progress) -> None:
        """Until /health says so; raises InvalidSettingError where that never comes."""
        start_s = time.monotonic()
        while time.monotonic() - start_s < _LONGEST_START_S:
            progress(f"starting {self._name}", 0, 0)
            if self._process.poll() is not None:
                raise self._failure(f"ended with status {self._process.returncode}")
            try:
                if client.get("/health").is_success:
                    return
            except httpx.HTTPError:
                pass  # it does not listen yet
            time.sleep(_POLL_S)
        self.stop()
        raise self._failure(f"was not ready after {_LONGEST_START_S:.0f} s")

    def stop(self) -> None:
        """Ends it and all that it started; what has ended already is left alone."""
        import psutil

        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.Error:
            family = []
        self._process.kill()
        for process in family:
            try:
                process.kill()
            except psutil.Error:
                continue
        self._process.wait()

    def _failure(self, what: str) -> InvalidSettingError:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        last = f": {said[-1][:300]}" if said else ""
        return InvalidSettingError(
            f"{self._name} {what}{last.rstrip('.')}; give --with {self._name}=URL of a server that "
            f"runs, or leave {self._name} out."
        )
