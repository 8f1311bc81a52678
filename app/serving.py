"""Serves a page on sockets of its own.

Gradio's own `launch` looks at the page through the proxies of the environment, knows addresses of
one family alone, and gives the root path to its own files and to no others; so its application is
mounted here, and nothing of all that is needed.
"""

import threading
import time
from collections.abc import Sequence
from socket import socket
from urllib.parse import urlsplit

import gradio as gr
import uvicorn
from gradio import networking
from gradio_client import Client
from starlette.applications import Starlette
from starlette.types import ASGIApp

from app.pages.ui import mount_options
from app.root_path import RootPath, UnderRootPath
from app.runs.handlers import Handlers
from app.server.accounts import OWN_HEADER, Accounts
from app.server.listening import is_own_machines, own_address
from app.server.origins import OwnOrigins

# Every visitor who waits or watches holds a thread.
_MAX_THREADS = 200
_POLL_S = 0.01
_PATIENCE_S = 5.0


class PageServer:
    """A page that is being served, from `start` until `close`."""

    def __init__(
        self,
        page: gr.Blocks,
        handlers: Handlers,
        sockets: Sequence[socket],
        *,
        root: RootPath | None = None,
        accounts: Accounts | None = None,
        with_mcp: bool = False,
        with_metrics: bool = False,
    ):
        """Serves on `sockets`, which listen already; see `app.pages.ui.mount_options` for the rest."""
        self.root = root or RootPath()
        self._page = page
        self._sockets = list(sockets)
        self._key = accounts.own_key if accounts else ""
        self._client: Client | None = None
        self._making_client = threading.Lock()
        page.max_threads = _MAX_THREADS
        page.queue()  # which takes up that number
        outer = Starlette()
        gr.mount_gradio_app(
            outer,  # all that it needs of it are routes and a lifespan
            page,
            path="",
            root_path="",
            mcp_server=with_mcp,
            **mount_options(handlers, with_metrics=with_metrics, accounts=accounts),
        )
        self._mounted = outer.routes[-1].app  # type: ignore[attr-defined]
        if with_mcp:
            page.mcp_server_obj._get_or_create_client = self._own_client
        served: ASGIApp = UnderRootPath(outer, self.root)
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
        self._page.close(verbose=False)
        self._mounted.stop_event.set()  # else pages that are open would hold it up
        self._server.should_exit = True
        self._thread.join(_PATIENCE_S)

    def share(self) -> str:
        """Makes a tunnel through Gradio's servers; its public URL. Raises RuntimeError without one."""
        near = urlsplit(self.own_address)
        assert near.hostname and near.port
        return str(
            networking.setup_tunnel(near.hostname, near.port, self._page.share_token, None, None)
        )

    def _own_client(self) -> Client:
        """How the MCP tools ask the page: without proxies, and with no account of their own."""
        with self._making_client:
            if self._client is None:
                self._client = Client(
                    self.own_address,
                    verbose=False,
                    download_files=False,
                    analytics_enabled=False,
                    headers={"x-gradio-user": "mcp", OWN_HEADER: self._key},
                    httpx_kwargs={"trust_env": False},
                    _skip_components=False,
                )
            return self._client
