"""From a request to runs: what is asked of the model, and under which settings."""

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from app.api.fields import MOST_CHOICES, Asked, ChatAsked, CompletionAsked, FieldError
from app.engines.chat import Chat, Message
from app.runs.limits import Limits
from app.runs.texts import checked_text, whole_characters
from core.config import RunConfig, settings_of
from core.errors import InvalidSettingError, shown
from core.modes.registry import modes

# As OpenAI's interface has it; a chat goes on until it ends by itself.
_COMPLETION_TOKENS = 16
_MOST_TOKENS = 10**6
_MOST_SEED = 2**31
# Settings of sampling by the fields that give them.
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logit_bias": "logit_bias",
    "min_tokens": "min_new_tokens",
    "ignore_eos": "ignore_eos",
    "seed": "seed",
}
# Settings of a run that no field gives, so that they stand under `specdecodes`.
OWN_SETTINGS = (
    "mode", "draft", "accept", "draft_failure", "drafter", "dtype", "weights", "compile", "invariant",
)  # fmt: skip


class ApiOptions(NamedTuple):
    """What the operator says of the interface."""

    target: str
    """The model of the start, which the list of models begins with."""
    settings: Mapping[str, Any]
    """Those of `OWN_SETTINGS` that hold where a request gives none."""
    size: int
    """Requests that are answered side by side, at most."""


class AskedRuns(NamedTuple):
    """The runs of a request, in the order of its choices."""

    chats: list[Chat]
    configs: list[RunConfig]
    text: str
    """What was asked, for whoever looks at the run."""


def asked_runs(
    asked: ChatAsked | CompletionAsked, options: ApiOptions, limits: Limits
) -> AskedRuns:
    """What a request asks for; raises InvalidSettingError with one sentence."""
    chats = [_chat(asked)] if isinstance(asked, ChatAsked) else _prompts(asked)
    if len(chats) * asked.n > MOST_CHOICES:
        raise FieldError(
            "n", f"{len(chats)} prompts and n {asked.n} make {len(chats) * asked.n} answers; "
            f"at most {MOST_CHOICES} are given at once.",
        )  # fmt: skip
    values = {
        **_own_settings(asked.specdecodes, options.settings),
        "target": asked.model,
        "max_new_tokens": _most_tokens(asked, limits),
        "stop": [asked.stop] if isinstance(asked.stop, str) else asked.stop,
        # A run without probabilities records none.
        "trace_top_k": 0 if asked.num_logprobs is None else max(1, asked.num_logprobs),
    }
    sampling = _sampling(asked)
    configs = [
        RunConfig.from_dict({**values, "sampling": {**sampling, "seed": sampling["seed"] + place}})
        for _ in chats
        for place in range(asked.n)
    ]
    last = chats[-1]
    text = last if isinstance(last, str) else ""
    if isinstance(asked, ChatAsked):
        text = _text(asked.messages[-1].content)
    repeated = [chat for chat in chats for _ in range(asked.n)]
    return AskedRuns(repeated, configs, whole_characters(text))


def _own_settings(given: Mapping[str, Any], served: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under `specdecodes`, over what the operator says."""
    unknown = sorted(set(given) - set(OWN_SETTINGS))
    if unknown:
        raise FieldError(
            f"specdecodes.{unknown[0]}",
            f"specdecodes has {shown(unknown[0])}; it holds {', '.join(OWN_SETTINGS)}, and the fields "
            "of the request the rest.",
        )
    kept = dict(served)
    if given.get("mode", served["mode"]) != served["mode"]:
        mode = given["mode"]
        heeded = settings_of(mode) if isinstance(mode, str) and mode in modes() else frozenset()
        # What belongs to the operator's mode says nothing of this one.
        kept = {name: value for name, value in kept.items() if name in heeded and name != "draft"}
    return {**kept, **given}


def operators_settings(values: Any) -> dict[str, Any]:
    """The operator's settings, checked; raises InvalidSettingError."""
    if not isinstance(values, dict):
        raise InvalidSettingError("they are no JSON object; give one.")
    settings = _own_settings(values, {"mode": "ngram"})
    RunConfig.from_dict(settings)
    return settings


def _most_tokens(asked: ChatAsked | CompletionAsked, limits: Limits) -> int:
    if isinstance(asked, CompletionAsked):
        return _COMPLETION_TOKENS if asked.max_tokens is None else asked.max_tokens
    one, other = asked.max_tokens, asked.max_completion_tokens
    if one is not None and other is not None and one != other:
        raise FieldError(
            "max_tokens",
            f"max_tokens is {one} and max_completion_tokens {other}; they are one limit, so give one.",
        )
    given = other if one is None else one
    return min(limits.most_tokens, _MOST_TOKENS) if given is None else given


def _sampling(asked: Asked) -> dict[str, Any]:
    """Settings of sampling; temperature 1 and a seed of chance where the request has none."""
    given = {ours: getattr(asked, name) for name, ours in _SAMPLING.items()}
    values = {name: value for name, value in given.items() if value is not None}
    if values.get("top_k") == -1:  # vLLM's word for all
        values["top_k"] = 0
    seed = values.setdefault("seed", secrets.randbelow(_MOST_SEED))
    if seed + asked.n > 2**63:
        raise FieldError("seed", f"seed is {seed}; give a smaller one.")
    constraint = _constraint(asked)
    if constraint is not None:
        values["constraint"] = constraint
    return {"temperature": 1.0, **values}


def _constraint(asked: Asked) -> str | None:
    """The form that the answer follows, as a setting; None where it is free."""
    forms: list[str] = []
    wanted, outputs = asked.response_format, asked.structured_outputs
    if wanted is not None:
        if (wanted.type == "json_schema") != (wanted.json_schema is not None):
            raise FieldError(
                "response_format",
                f"response_format is of type {wanted.type}; give a json_schema with the type "
                "json_schema, and with no other.",
            )
        if wanted.type == "json_object":
            forms.append("json")
        elif wanted.json_schema is not None:
            forms.append(f"json:{_written(wanted.json_schema.schema_)}")
    if outputs is not None:
        if outputs.json_ is not None:
            schema = outputs.json_
            forms.append(f"json:{schema if isinstance(schema, str) else _written(schema)}")
        if outputs.json_object:
            forms.append("json")
        if outputs.regex is not None:
            forms.append(f"regex:{outputs.regex}")
        if outputs.choice is not None:
            forms.append(f"regex:{'|'.join(map(re.escape, outputs.choice))}")
        if outputs.grammar is not None:
            forms.append(f"lark:{outputs.grammar}")
    if len(forms) > 1:
        raise FieldError(
            "structured_outputs", f"{len(forms)} forms are given for the answer; give one."
        )
    return forms[0] if forms else None


def _written(schema: dict[str, Any]) -> str:
    """A schema as text; raises InvalidSettingError for numbers that are none."""
    try:
        return json.dumps(schema, allow_nan=False)
    except (ValueError, RecursionError):
        raise InvalidSettingError(
            "the schema has a number that JSON cannot hold, or no end; give another one."
        ) from None


def _chat(asked: ChatAsked) -> list[Message]:
    messages = [
        {
            "role": "system" if message.role == "developer" else message.role,
            "content": whole_characters(_text(message.content)),
        }
        for message in asked.messages
    ]
    checked_text("".join(message["content"] for message in messages), "chat")
    return messages


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _prompts(asked: CompletionAsked) -> list[Chat]:
    """The prompts of a completion, each a text or token ids."""
    if asked.best_of not in (None, asked.n):
        raise FieldError(
            "best_of", f"best_of is {asked.best_of}; answers are not ranked here, so leave it out."
        )
    if asked.echo and asked.logprobs is not None:
        raise FieldError(
            "echo", "echo and logprobs ask for probabilities of the prompt; leave one of them out."
        )
    prompt: Any = asked.prompt
    is_one = isinstance(prompt, str) or (bool(prompt) and isinstance(prompt[0], int))
    prompts = [prompt] if is_one else prompt
    if not prompts or not all(prompts):
        raise FieldError("prompt", "The prompt is empty; give one.")
    return [checked_text(one, "prompt") if isinstance(one, str) else one for one in prompts]
