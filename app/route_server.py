"""Serves routes on sockets of their own: of the page, or of the interface for programs alone."""

import threading
import time
from collections.abc import Sequence
from socket import socket

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from app.root_path import RootPath, UnderRootPath
from app.server.listening import is_own_machines, own_address
from app.server.origins import OwnOrigins

_POLL_S = 0.01
_PATIENCE_S = 5.0


class RouteServer:
    """Routes that are being served, from `start` until `close`."""

    def __init__(self, app: Starlette, sockets: Sequence[socket], root: RootPath | None = None):
        """Serves on `sockets`, which listen already."""
        self.root = root or RootPath()
        self._sockets = list(sockets)
        served: ASGIApp = UnderRootPath(app, self.root)
        if is_own_machines(self._sockets):
            served = OwnOrigins(served)
        self._server = uvicorn.Server(uvicorn.Config(served, log_level="warning"))
        run = self._server.run
        self._thread = threading.Thread(target=run, args=(self._sockets,), daemon=True)

    @property
    def own_address(self) -> str:
        """The URL by which this machine reaches the page, without a slash at its end."""
        return own_address(self._sockets)

    @property
    def address(self) -> str:
        """The URL to tell people, as far as it is known."""
        if self.root.host:
            return f"{self.root.scheme}://{self.root.host}{self.root.path}"
        return self.own_address + self.root.path

    def start(self) -> None:
        """Serves in a thread; returns when the page answers."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the server ended while it started")
            time.sleep(_POLL_S)

    def wait(self) -> None:
        """Until the program is interrupted, which raises KeyboardInterrupt."""
        self._thread.join()

    def close(self) -> None:
        """Ends it; answers that are still coming end where they are."""
        self._server.should_exit = True
        self._thread.join(_PATIENCE_S)
