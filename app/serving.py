"""Serves a page on sockets of its own.

Gradio's own `launch` looks at the page through the proxies of the environment, knows addresses of
one family alone, and gives the root path to its own files and to no others; so its application is
mounted here, and nothing of all that is needed.
"""

import threading
from collections.abc import Sequence
from socket import socket
from urllib.parse import urlsplit

import gradio as gr
from gradio import networking
from gradio_client import Client
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from app.pages.ui import mount_options
from app.root_path import RootPath
from app.route_server import RouteServer
from app.runs.handlers import Handlers
from app.server.accounts import OWN_HEADER, Accounts

# Every visitor who waits or watches holds a thread.
_MAX_THREADS = 200


class PageServer(RouteServer):
    """A page that is being served, from `start` until `close`."""

    def __init__(
        self,
        page: gr.Blocks,
        handlers: Handlers,
        sockets: Sequence[socket],
        *,
        beside: Sequence[BaseRoute] = (),
        root: RootPath | None = None,
        accounts: Accounts | None = None,
        with_mcp: bool = False,
        with_metrics: bool = False,
    ):
        """Serves it on `sockets`, which listen already, and the routes `beside` it; see
        `app.pages.ui.mount_options` for the rest."""
        self._page = page
        self._key = accounts.own_key if accounts else ""
        self._client: Client | None = None
        self._making_client = threading.Lock()
        page.max_threads = _MAX_THREADS
        page.queue()  # which takes up that number
        outer = Starlette(routes=beside)
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
        super().__init__(outer, sockets, root)

    def close(self) -> None:
        """See `RouteServer.close`."""
        self._page.close(verbose=False)
        self._mounted.stop_event.set()  # else pages that are open would hold it up
        super().close()

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
