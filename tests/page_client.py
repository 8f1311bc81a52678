"""Speaks to the served page as its browser side does, but without a browser."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx

PATIENCE_S = 60.0


class PageClient:
    """One visitor with a cookie of its own and one open page."""

    def __init__(self, address: str, auth: tuple[str, str] | None = None):
        self.http = httpx.Client(base_url=address, timeout=PATIENCE_S, auth=auth)
        self.reload()

    def reload(self) -> None:
        """Opens the page anew: the same visitor with an empty chat."""
        self.session = secrets.token_hex(6)
        self.http.get("/").raise_for_status()
        config = self.http.get("/config").raise_for_status().json()
        self._parts = {part["id"]: part["props"] for part in config["components"]}
        ids = {props.get("elem_id"): key for key, props in self._parts.items()}
        self._ids = {name: key for name, key in ids.items() if name}
        self._functions = config["dependencies"]

    def close(self) -> None:
        self.http.close()

    def function(self, control: str, event: str = "click") -> dict[str, Any]:
        """What a control's event calls, as the page's configuration describes it."""
        wanted = [self._ids[control], event]
        return next(item for item in self._functions if wanted in item["targets"])

    def values(self, function: dict[str, Any], changed: dict[str, Any]) -> list[Any]:
        """A function's inputs as the page shows them, with those of some controls changed."""
        changed_ids = {self._ids[name]: value for name, value in changed.items()}
        shown = {key: self._parts[key].get("value") for key in function["inputs"]}
        return [{**shown, **changed_ids}[key] for key in function["inputs"]]

    def act(self, control: str, **changed: Any) -> Any:
        """Presses a button that answers at once."""
        function = self.function(control)
        return self.predict(function, self.values(function, changed)).raise_for_status().json()

    def predict(self, function: dict[str, Any], values: list[Any]) -> httpx.Response:
        """Calls a function outside the queue."""
        body = {"data": values, "fn_index": function["id"], "session_hash": self.session}
        return self.http.post(f"/gradio_api/run/{function['api_name']}", **as_json(body))

    def stream(self, control: str, event: str = "click", **changed: Any) -> Iterator[Any]:
        """Presses a button that answers bit by bit; gives the messages of the first output."""
        function = self.function(control, event)
        yield from self.queue(function, self.values(function, changed))

    def resume(self, view: str, runs: list[str]) -> Iterator[Any]:
        """Has a view go on with the runs that a page remembered; gives its messages."""
        function = self.function(view, "apply")
        yield from self.queue(function, self.values(function, {}), {"runs": runs})

    def queue(
        self, function: dict[str, Any], values: list[Any], event_data: Any = None
    ) -> Iterator[Any]:
        """Calls a function through Gradio's queue; raises RuntimeError with what it refused."""
        body = {
            "data": values,
            "fn_index": function["id"],
            "session_hash": self.session,
            "event_data": event_data,
        }
        joined = self.http.post("/gradio_api/queue/join", **as_json(body))
        if joined.status_code != 200:
            raise RuntimeError(joined.text)
        told: list[Any] = []
        query = {"session_hash": self.session}
        with self.http.stream("GET", "/gradio_api/queue/data", params=query) as answer:
            for line in answer.iter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line[5:])
                if message["msg"] == "process_generating":
                    told = applied(told, message["output"]["data"])
                    yield told[0]
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(str(message["output"].get("error")))
                    return


def as_json(body: Any) -> dict[str, Any]:
    """Arguments of a request; unlike httpx's own, odd numbers and half characters go through."""
    return {"content": json.dumps(body), "headers": {"content-type": "application/json"}}


def applied(before: list[Any], output: list[Any]) -> list[Any]:
    """What the outputs are: Gradio sends whole values first and then edits of them."""
    if not before:
        return list(output)
    return [
        _edited(old, edits) if isinstance(edits, list) else edits
        for old, edits in zip(before, output, strict=True)
    ]


def _edited(value: Any, edits: list[Any]) -> Any:
    for action, path, new in edits:
        if path:
            raise NotImplementedError(f"an edit inside a value: {path}")
        value = value + new if action == "append" else new
    return value
