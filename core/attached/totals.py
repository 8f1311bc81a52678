"""What servers tell of a whole answer at its end, in the words of `core.trace.stats.RunStats`."""

from typing import Any, NamedTuple

from core.attached.chunks import count, part, seconds
from core.attached.event_stream import StreamError


class Told(NamedTuple):
    """Totals, and the names of the fields that told them."""

    fields: list[str]
    totals: dict[str, Any]


def told_totals(event: dict[str, Any]) -> Told:
    """What one event of a stream tells of the whole answer; the last one that tells something counts.

    Raises StreamError for fields that hold something else.
    """
    found = Told([], {})
    for name, read in _READERS.items():
        values: Any = event
        for key in name.split("."):
            values = part(values, key)
        totals = read(values) if values else {}
        totals = {key: value for key, value in totals.items() if value is not None}
        if totals:
            found = Told([*found.fields, name], {**found.totals, **totals})
    return found


def _from_usage(values: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's; LM Studio has its drafts there, or in `stats`."""
    return {
        "num_tokens": count(values.get("completion_tokens")),
        "num_prompt_tokens": count(values.get("prompt_tokens")),
        **_from_stats(values),
    }


def _from_stats(values: dict[str, Any]) -> dict[str, Any]:
    """LM Studio's. Drafts that it ignored were never judged."""
    return {
        "num_drafted": count(values.get("total_draft_tokens_count")),
        "num_accepted": count(values.get("accepted_draft_tokens_count")),
    }


def _from_timings(values: dict[str, Any]) -> dict[str, Any]:
    """llama-server's, which leaves out numbers of drafts that are 0."""
    if "predicted_n" not in values:
        return {}
    return {
        "num_tokens": count(values["predicted_n"]),
        "num_drafted": count(values.get("draft_n")) or 0,
        "num_accepted": count(values.get("draft_n_accepted")) or 0,
        "steps_s": seconds(values["predicted_ms"]) if "predicted_ms" in values else None,
    }


def _from_vllm(values: dict[str, Any]) -> dict[str, Any]:
    """vLLM's `--per-request-spec-decode-metrics`; the lists of steps come with `detailed` alone.

    Its drafts are chains, judged until the first refusal.
    """
    accepted, drafted = values.get("per_step_accepted"), values.get("per_step_drafted")
    tested = None
    if isinstance(accepted, list) and isinstance(drafted, list):
        pairs = list(zip(_counts(accepted), _counts(drafted), strict=False))
        tested = sum(min(proposed, kept + 1) for kept, proposed in pairs)
    return {
        "num_drafted": count(values.get("num_draft_tokens")),
        "num_accepted": count(values.get("num_accepted_draft_tokens")),
        "num_draft_steps": count(values.get("num_spec_steps")),
        "num_tested": tested,
        "accepted_histogram": _histogram(values.get("acceptance_histogram")),
    }


def _from_sglang(values: dict[str, Any]) -> dict[str, Any]:
    """SGLang's, under its names of today and of versions until about 0.5.9.

    Every forward behind the prompt's verifies a draft.
    """
    verified = count(values.get("spec_verify_ct"))
    accepted = values.get("spec_num_correct_drafts", values.get("spec_accept_token_num"))
    drafted = values.get("spec_num_proposed_drafts", values.get("spec_draft_token_num"))
    histogram = values.get("spec_correct_drafts_histogram", values.get("spec_accept_histogram"))
    return {
        "num_steps": None if not verified else verified + 1,
        "num_draft_steps": verified,
        "num_accepted": count(accepted),
        "num_drafted": count(drafted),
        "accepted_histogram": _histogram(histogram),
    }


def _histogram(values: Any) -> list[int] | None:
    return _counts(values) if isinstance(values, list) and values else None


def _counts(values: list[Any]) -> list[int]:
    counts = [count(value) for value in values]
    if None in counts:
        raise StreamError("the server sent a list of counts that holds none")
    return [value for value in counts if value is not None]


_READERS = {
    "usage": _from_usage,
    "stats": _from_stats,
    "timings": _from_timings,
    "metrics.speculative_decoding": _from_vllm,
    "sglext.spec_tokens_details": _from_sglang,
}
