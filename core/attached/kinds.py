"""Kinds of servers: by what each is known, what it is asked, and what it says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from core.config import RunConfig, SamplingConfig
from core.errors import InvalidSettingError, ModelUnavailableError

_USAGE_AT_THE_END = {"stream_options": {"include_usage": True}}
_USAGE_ON_THE_WAY = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
_COMPLETIONS = "/v1/completions"
_CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class ServerKind:
    """How a server is asked for an answer whose steps can be told apart."""

    name: str
    owner: str = ""
    """What it calls the owner of its models."""
    path: str = _COMPLETIONS
    """Where it takes the text or the token ids of a prompt."""
    length: str = "max_tokens"
    """Its word for the most new tokens."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of a request: what makes it tell its steps."""
    own_way: Mapping[str, Any] = field(default_factory=dict)
    """Of a request: what puts its own habits aside, as penalties."""
    no_top_k: int | None = None
    """Its word for keeping all tokens; None where it has neither top-k nor min-p."""


LLAMA_SERVER = ServerKind(
    "llama-server",
    "llamacpp",
    path="/completion",
    length="n_predict",
    fields={"timings_per_token": True},
    own_way={"repeat_penalty": 1.0},
    no_top_k=0,
)
VLLM = ServerKind(
    "vllm",
    "vllm",
    # Log probabilities tell the text of each token.
    fields={**_USAGE_ON_THE_WAY, "return_token_ids": True, "logprobs": 0},
    own_way={"repetition_penalty": 1.0},
    no_top_k=-1,
)
SGLANG = ServerKind(
    "sglang",
    "sglang",
    fields={**_USAGE_ON_THE_WAY, "return_spec_tokens_details": True},
    own_way={"repetition_penalty": 1.0},
    no_top_k=-1,
)
LM_STUDIO = ServerKind("lm-studio", fields=_USAGE_AT_THE_END)
OTHER = ServerKind("openai", fields=_USAGE_AT_THE_END)
KINDS = {kind.name: kind for kind in (LLAMA_SERVER, VLLM, SGLANG, LM_STUDIO, OTHER)}


class Server(NamedTuple):
    """A server that answers, and what it says of itself."""

    kind: ServerKind
    model: str
    version: str
    """Empty where it does not tell it."""
    speculates: bool | None
    """None where it does not say."""


def find_server(client: httpx.Client, model: str | None, kind: ServerKind | None = None) -> Server:
    """Asks a server what it is; `model` is the one that is wanted, and `kind` its kind, if known.

    Raises ModelUnavailableError where nobody answers, and InvalidSettingError for a model that it lacks.
    """
    entries = _models(client)
    names = [str(entry.get("id")) for entry in entries]
    if not names:
        raise ModelUnavailableError(f"{client.base_url} serves no model; have it load one.")
    if model is not None and model not in names:
        raise InvalidSettingError(
            f"{client.base_url} has no model {model!r}; give #NAME of one of {', '.join(names[:8])}."
        )
    chosen = model or names[0]
    kind = kind or _kind_of(client, str(entries[names.index(chosen)].get("owned_by")))
    return Server(kind, chosen, *_about(client, kind))


def _kind_of(client: httpx.Client, owner: str) -> ServerKind:
    for kind in KINDS.values():
        if kind.owner == owner:
            return kind
    return LM_STUDIO if "data" in ask(client, "/api/v0/models") else OTHER


def _models(client: httpx.Client) -> list[dict[str, Any]]:
    try:
        response = client.get("/v1/models")
        response.raise_for_status()
        entries = response.json()["data"]
        return [entry for entry in entries if isinstance(entry, dict)]
    except httpx.HTTPStatusError as error:
        hint = ""
        if error.response.status_code in (401, 403):
            hint = "; give its key in the environment variable SPECDECODES_SERVER_KEYS"
        raise ModelUnavailableError(
            f"{client.base_url} refuses to tell its models (status {error.response.status_code}){hint}."
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelUnavailableError(
            f"{client.base_url} tells no model at /v1/models ({told}); give the address of a server "
            "that runs and speaks OpenAI's interface."
        ) from error


def ask(client: httpx.Client, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON object at a path; empty where there is none."""
    try:
        response = client.get(path) if body is None else client.post(path, json=body)
        values = response.json() if response.is_success else {}
    except (httpx.HTTPError, ValueError):
        values = {}
    return values if isinstance(values, dict) else {"list": values}


def _about(client: httpx.Client, kind: ServerKind) -> tuple[str, bool | None]:
    """Version, and whether it speculates, as far as each kind says so."""
    if kind is LLAMA_SERVER:
        slots = ask(client, "/slots").get("list")
        told = [slot.get("speculative") for slot in slots or [] if isinstance(slot, dict)]
        is_told = bool(told) and all(isinstance(one, bool) for one in told)
        return str(ask(client, "/props").get("build_info", "")), any(told) if is_told else None
    if kind is VLLM:
        counters = metrics(client)
        is_told = any(name.startswith("vllm:") for name in counters)
        drafts = any(name.startswith("vllm:spec_decode_num_drafts") for name in counters)
        return str(ask(client, "/version").get("version", "")), drafts if is_told else None
    if kind is SGLANG:
        about = ask(client, "/server_info") or ask(client, "/get_server_info")
        is_told = "speculative_algorithm" in about
        drafts = about.get("speculative_algorithm") is not None
        return str(about.get("version", "")), drafts if is_told else None
    return "", None


def metrics(client: httpx.Client) -> dict[str, float]:
    """Prometheus' counters of a server, those with several labels added up; empty where it has none."""
    try:
        response = client.get("/metrics")
        lines = response.text.split("\n") if response.is_success else []
    except httpx.HTTPError:
        return {}
    found: dict[str, float] = {}
    for line in lines:
        name, _, number = line.rpartition(" ")
        name = name.partition("{")[0]
        if name and not line.startswith("#"):
            try:
                found[name] = found.get(name, 0.0) + float(number)
            except ValueError:
                continue
    return found


def sampling_fields(kind: ServerKind, sampling: SamplingConfig) -> dict[str, Any]:
    """Our sampling in a server's words; raises InvalidSettingError for what it has no word for."""
    narrowing = {"top_k": sampling.top_k, "min_p": sampling.min_p}
    if kind.no_top_k is None:
        for name, value in narrowing.items():
            if value:
                raise InvalidSettingError(
                    f"{name} is {value}, and a server of unknown kind may not know it; leave it out."
                )
        narrowing = {}
    else:
        narrowing["top_k"] = sampling.top_k or kind.no_top_k
    if sampling.is_greedy:
        return {"temperature": 0.0, "top_p": 1.0, **narrowing}
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        **narrowing,
        "seed": sampling.seed,
    }


def request_fields(kind: ServerKind, model: str, config: RunConfig) -> dict[str, Any]:
    """All fields of a request but the prompt."""
    return {
        "model": model,
        "stream": True,
        kind.length: config.max_new_tokens,
        **sampling_fields(kind, config.sampling),
        **kind.own_way,
        **kind.fields,
    }


class Asked(NamedTuple):
    """A prompt as a server takes it."""

    path: str
    fields: dict[str, Any]
    token_ids: list[int]
    """Empty where the server does not tell them."""


def asked_ids(kind: ServerKind, token_ids: list[int]) -> Asked:
    """A prompt whose token ids are known."""
    return Asked(kind.path, {"prompt": token_ids}, token_ids)


def asked_chat(client: httpx.Client, server: Server, messages: list[dict[str, str]] | str) -> Asked:
    """A chat through the server's own template, or a text that it continues.

    Its ids are learnt where the server tells them, so that runs of the same prompt are known as such.
    Raises ModelUnavailableError for a llama-server without its own routes.
    """
    kind, is_text = server.kind, isinstance(messages, str)
    if kind is LLAMA_SERVER:
        applied = {} if is_text else ask(client, "/apply-template", {"messages": messages})
        text = messages if is_text else applied.get("prompt")
        body = {"content": text, "add_special": True, "parse_special": True}
        ids = _ids(ask(client, "/tokenize", body)) if isinstance(text, str) else []
        if not ids:
            raise ModelUnavailableError(
                f"{client.base_url} does not answer at /apply-template and /tokenize; give a newer "
                "llama-server, or let these routes through."
            )
        return asked_ids(kind, ids)
    if kind is VLLM:
        prompt = {"prompt": messages} if is_text else {"messages": messages}
        ids = _ids(ask(client, "/tokenize", {"model": server.model, **prompt}))
        if ids:
            return asked_ids(kind, ids)
    if is_text:
        return Asked(_COMPLETIONS, {"prompt": messages}, [])
    return Asked(_CHAT, {"messages": messages, **_CHAT_FIELDS.get(kind.name, {})}, [])


# What the chat route calls otherwise.
_CHAT_FIELDS: dict[str, dict[str, Any]] = {"vllm": {"logprobs": False}}


def _ids(values: dict[str, Any]) -> list[int]:
    ids = values.get("tokens")
    if not isinstance(ids, list) or not all(type(one) is int for one in ids):
        return []
    return ids
