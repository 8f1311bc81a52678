"""A server that answers completions over HTTP in OpenAI's form, such as llama-server or vLLM."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from core.benchmark.measurement import Answer
from core.benchmark.outside.completion_stream import (
    StreamCounter,
    StreamError,
    error_message,
    lines_of_stream,
    parse_event,
)
from core.benchmark.runners import Facts
from core.decoding.run_start import Prompt
from core.errors import InvalidSettingError
from core.runtime.peak_memory import MemoryGauge

INTERFACE = "ids to /v1/completions, tokens by the server's usage"
# An answer may take long to begin; a server that is not there is known at once.
_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
# Servers close connections that wait, while others answer, and a request on one of them would fail.
_NO_KEPT_CONNECTIONS = httpx.Limits(max_keepalive_connections=0)


def open_client(url: str) -> httpx.Client:
    """A client that talks to the server itself, whatever proxies the environment names."""
    return httpx.Client(
        base_url=url.rstrip("/"), timeout=_TIMEOUT, trust_env=False, limits=_NO_KEPT_CONNECTIONS
    )


def served_model(client: httpx.Client, name: str) -> str:
    """The id of the first model of a server; raises InvalidSettingError where it tells none."""
    try:
        response = client.get("/v1/models")
        response.raise_for_status()
        return str(response.json()["data"][0]["id"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise InvalidSettingError(
            f"{client.base_url} tells no model at /v1/models ({str(error).splitlines()[0]}); give "
            f"--with {name}=URL of a running server, or leave {name} out."
        ) from error


class CompletionRunner:
    """Implements `core.benchmark.runners.Runner`."""

    gives_plain_text = False

    def __init__(
        self,
        label: str,
        client: httpx.Client,
        request: dict[str, Any],
        facts: Facts,
        memory: MemoryGauge | None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        """`request` has all fields of a completion but the prompt."""
        self.label = label
        self.facts = facts
        self.memory = memory
        self._client = client
        self._request = request
        self._clock = clock

    def answer(self, prompt: Prompt) -> Answer:
        """See `Runner.answer`. The prompt goes as ids, so that no other template meets it."""
        counter = StreamCounter()
        start_s = self._clock()
        try:
            body = {**self._request, "prompt": prompt.token_ids}
            with self._client.stream("POST", "/v1/completions", json=body) as response:
                if response.is_error:
                    raise StreamError(_refusal(response))
                for line in lines_of_stream(response.iter_text()):
                    event = parse_event(line)
                    if event is not None:
                        counter.add(event, self._clock() - start_s)
            total_s = self._clock() - start_s
            emissions = counter.emissions()
            _check_prompt(counter.num_prompt_tokens, len(prompt.token_ids))
        except (httpx.HTTPError, StreamError) as error:
            return Answer(error=f"{type(error).__name__}: {error}")
        return Answer(text="".join(counter.texts), emissions=emissions, total_s=total_s)


def _refusal(response: httpx.Response) -> str:
    response.read()
    try:
        message = error_message(response.json())
    except ValueError:
        message = response.text.strip()
    return f"the server refused with status {response.status_code}: {message[:300]}"


def _check_prompt(num_read: int | None, num_given: int) -> None:
    """Raises StreamError where the server read another prompt than it was given."""
    if num_read is not None and num_read != num_given:
        raise StreamError(f"the server read {num_read} prompt tokens, and {num_given} were given")
