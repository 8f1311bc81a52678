"""A real HTTP server that answers completions as llama-server and vLLM do, out of a script."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

_MODELS = {"data": [{"id": "tiny"}]}


@dataclass
class Script:
    """What the server says, and what it was asked."""

    events: list[dict[str, Any] | str] = field(default_factory=list)
    """Of each answer; a text goes out as it is."""
    status: int = 200
    num_served: int = 10**6
    """Requests that are answered before `status` is the answer to all others."""
    refusal: str = ""
    pause_s: float = 0.0
    """Before each event."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of each request, those of /v1/models among them."""
    finish: str | None = "length"
    """Why each answer ends; None leaves it out."""
    found: dict[str, Any] = field(default_factory=lambda: {"/health": {}, "/v1/models": _MODELS})
    """What is answered at paths that are asked for; a text as it is."""
    requests: list[dict[str, Any]] = field(default_factory=list)


def text_event(text: str, **more: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text}], **more}


def usage_event(num_tokens: int, num_prompt_tokens: int | None = None) -> dict[str, Any]:
    usage = {"prompt_tokens": num_prompt_tokens, "completion_tokens": num_tokens}
    return {"choices": [], "usage": usage}


def _end(script: Script) -> list[dict[str, Any]]:
    if script.finish is None:
        return []
    return [{"choices": [{"index": 0, "text": "", "finish_reason": script.finish}]}]


@contextmanager
def completion_server(script: Script) -> Iterator[str]:
    """Its address, for as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.headers.append(dict(self.headers))
            found = script.found.get(self.path)
            text = found if isinstance(found, str) else json.dumps(found)
            self._send(404 if found is None else 200, text)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            asked = json.loads(self.rfile.read(length))
            if self.path in script.found:
                self._send(200, json.dumps(script.found[self.path]))
                return
            script.headers.append(dict(self.headers))
            script.requests.append({**asked, "path": self.path})
            if script.status != 200 and len(script.requests) > script.num_served:
                self._send(script.status, json.dumps({"error": {"message": script.refusal}}))
                return
            lines = [
                event if isinstance(event, str) else f"data: {json.dumps(event)}"
                for event in [*script.events, *_end(script)]
            ]
            self._send(200, "\n\n".join([*lines, "data: [DONE]"]) + "\n\n")

        def _send(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for piece in body.split(b"\n\n"):
                time.sleep(script.pause_s)
                with suppress(OSError):  # whoever asked is gone
                    self.wfile.write(piece + (b"\n\n" if piece else b""))
                    self.wfile.flush()

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
