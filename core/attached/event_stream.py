"""Streams of server-sent events over HTTP: their lines, their JSON, and what goes wrong in them."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import httpx

# An answer may take long to begin; a server that is not there is known at once.
_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
# Servers close connections that wait, while others answer, and a request on one of them would fail.
_NO_KEPT_CONNECTIONS = httpx.Limits(max_keepalive_connections=0)
_MOST_SAID = 300
# No line of an answer is nearly as long, and nothing else bounds what a server sends without an end.
_MOST_CHARACTERS = 4_000_000


class StreamError(Exception):
    """A stream that does not say what is needed; the message says what is missing."""


def open_client(url: str, key: str | None = None) -> httpx.Client:
    """A client that talks to the server itself, whatever proxies the environment names, and follows it
    nowhere else. The key goes along with every request."""
    return httpx.Client(
        base_url=url.rstrip("/"),
        timeout=_TIMEOUT,
        trust_env=False,
        limits=_NO_KEPT_CONNECTIONS,
        headers={"Authorization": f"Bearer {key}"} if key else None,
    )


def lines_of_stream(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces; \\n alone ends one, for JSON may hold other ends."""
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        yield from lines
        if len(rest) > _MOST_CHARACTERS:
            raise StreamError(f"the server sent a line of more than {_MOST_CHARACTERS} characters")
    if rest:
        yield rest


def parse_event(line: str) -> dict[str, Any] | None:
    """The object of a line of server-sent events; None for lines that hold none.

    Raises StreamError for an error of the server and for what is no JSON object.
    """
    if not line.startswith("data:"):
        return None
    body = line.removeprefix("data:").strip()
    if body == "[DONE]":
        return None
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise StreamError("the server sent an event that is not JSON") from error
    if not isinstance(values, dict):
        raise StreamError("the server sent an event that is no JSON object")
    if "error" in values:
        raise StreamError(f"the server failed: {error_message(values)}")
    return values


def error_message(values: Any) -> str:
    """What a server says of its failure."""
    error = values.get("error", values) if isinstance(values, dict) else values
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)[:_MOST_SAID]


def refusal(response: httpx.Response) -> str:
    """What a server answers in place of what was asked for, as a sentence holds it."""
    response.read()
    try:
        message = error_message(response.json())
    except ValueError:
        message = response.text.strip()[:_MOST_SAID]
    return f"the server refused with status {response.status_code}: {message}"


class EventStream:
    """One answer, read on a thread of its own, so that its times are those of its coming and so that it
    can be ended while the server is silent."""

    def __init__(
        self,
        client: httpx.Client,
        path: str,
        body: dict[str, Any],
        clock: Callable[[], float],
        take: Callable[[dict[str, Any] | StreamError | None, float], None],
    ):
        """Asks at once. `take` hears on that thread of every event with its time on the clock; of a
        StreamError, or None at the end, last."""
        self._clock = clock
        self._take = take
        self._socket: socket.socket | None = None
        self._is_stopped = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._read, args=(client, path, body), name="server", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ends the answer; what comes still is not passed on."""
        with self._lock:
            self._is_stopped = True
            if self._socket is not None:
                with suppress(OSError):  # the server has closed it
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self, client: httpx.Client, path: str, body: dict[str, Any]) -> None:
        end: StreamError | None = None
        try:
            followed = {"trace": self._hold}
            with client.stream("POST", path, json=body, extensions=followed) as response:
                if response.is_error or response.is_redirect:
                    raise StreamError(refusal(response))
                for line in lines_of_stream(response.iter_text()):
                    event = parse_event(line)
                    if event is not None:
                        self._tell(event)
        except StreamError as error:
            end = error
        except (httpx.HTTPError, OSError) as error:
            end = StreamError(f"{type(error).__name__}: {error}")
        self._tell(end)

    def _hold(self, name: str, info: dict[str, Any]) -> None:
        """Takes hold of the connection once it is there, long before an answer may come."""
        if name == "connection.connect_tcp.complete":
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
            if self._is_stopped:
                raise StreamError("stopped")

    def _tell(self, what: dict[str, Any] | StreamError | None) -> None:
        if not self._is_stopped:
            self._take(what, self._clock())
