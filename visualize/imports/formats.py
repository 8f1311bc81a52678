"""The files of other programs: each a description, which `visualize.imports.reading` reads.

A path leads into a JSON value by names and places (`choices.0.turns`); of several, divided by blanks,
the first one counts that is there. What the engines mean by their numbers is in `about`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from visualize.imports import kinds
from visualize.imports.kinds import Kind


class Field(NamedTuple):
    """Where a number of a `Record` stands, and what it may be."""

    paths: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Log:
    """How answers stand in the lines of a log.

    Each pattern's groups are values of the answer that its line belongs to: the one of its `key`, or
    of the last key that was named. A group of `repeated` adds to a list.
    """

    key: re.Pattern[str]
    begins: re.Pattern[str]
    """An answer begins, also where its key has been used before."""
    model: re.Pattern[str]
    patterns: tuple[re.Pattern[str], ...]
    repeated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file. Where `log` is not given, it is JSON: one value, or one a line."""

    name: str
    about: str
    marks: tuple[str, ...]
    """Paths that together tell it from all others."""
    needs: tuple[str, ...] = ()
    """Paths that every entry has, unless it says why it failed."""
    answer: Mapping[str, Field]
    """By the name in `Record`; `failure` tells of answers that failed without an error's words."""
    answers: str = ""
    """Path of the list of answers in an entry; empty where the entry itself is one."""
    is_columns: bool = False
    """Whether the paths of an answer lead to lists with a value an answer."""
    whole: Mapping[str, Field] = field(default_factory=dict)
    """What an entry tells of all its answers; each entry is then a source of its own."""
    position_rates: str = ""
    """Path of the shares of steps that accepted at least 1, 2, ... draft tokens."""
    left_out: tuple[str, str] | None = None
    """A path and the value there that say that an entry is none to count."""
    model: str = ""
    every_step: bool = False
    """See `Source.every_step`."""
    log: Log | None = None


def _vllm_counts(place: str) -> dict[str, Field]:
    """vLLM's figures of one request, which AIPerf hands on."""
    return {
        "num_drafted_steps": Field(f"{place}.num_spec_steps", kinds.COUNT),
        "num_drafted": Field(f"{place}.num_draft_tokens", kinds.COUNT),
        "num_accepted": Field(f"{place}.num_accepted_draft_tokens", kinds.COUNT),
        "drafted_tau": Field(f"{place}.mean_acceptance_length", kinds.MEAN_OR_UNTOLD),
        "acceptance_rate": Field(f"{place}.draft_acceptance_rate", kinds.RATE),
        "accepted_counts": Field(f"{place}.acceptance_histogram", kinds.HISTOGRAM),
        "accepted_by_step": Field(f"{place}.per_step_accepted", kinds.COUNTS),
        "drafted_by_step": Field(f"{place}.per_step_drafted", kinds.COUNTS),
    }


# Clients of both benchmarks write 0 for what a failed or unstreamed request did not have.
_BENCH_COLUMNS: Final = {
    "error": Field("errors", kinds.TEXT),
    "num_prompt_tokens": Field("input_lens", kinds.COUNT),
    "num_tokens": Field("output_lens", kinds.COUNT),
    "time_to_first_token_s": Field("ttfts", kinds.SECONDS_OR_UNTOLD),
}
_BENCH_WHOLE: Final = {
    "num_requests": Field("completed", kinds.COUNT),
    "num_failed": Field("failed", kinds.COUNT),
    "duration_s": Field("duration", kinds.SECONDS),
    "num_prompt_tokens": Field("total_input_tokens", kinds.COUNT),
    "num_tokens": Field("total_output_tokens", kinds.COUNT),
    "first_p50_s": Field("median_ttft_ms", kinds.MILLISECONDS_OR_UNTOLD),
    "first_p99_s": Field("p99_ttft_ms", kinds.MILLISECONDS_OR_UNTOLD),
}

_TASK: Final = r"\| task (?P<task>-?\d+) \|"
_LLAMA_LOG: Final = Log(
    key=re.compile(_TASK),
    begins=re.compile(rf"launch_slot_: .*{_TASK} processing task"),
    model=re.compile(r"loading model '(?:[^']*[/\\\\])?([^'/\\\\]+)'"),
    patterns=(
        # The line of the prompt has the same words with "prompt" before them.
        re.compile(
            r"(?<!prompt )\beval time =\s*(?P<decode_ms>[\d.]+) ms /"
            r"\s*(?P<num_tokens>\d+) (?:tokens|runs)"
        ),
        re.compile(r"prompt eval time =\s*(?P<prompt_ms>[\d.]+) ms /"),
        re.compile(r"total time =\s*(?P<total_ms>[\d.]+) ms /"),
        re.compile(
            r"draft acceptance(?: rate)? =\s*[\d.]+ \(\s*(?P<num_accepted>\d+) accepted /"
            r"\s*(?P<num_drafted>\d+) generated\)"
            r"(?:, mean (?:len|acceptance length) =\s*(?P<mean_length>[\d.]+))?"
        ),
        re.compile(r"\baccepted\s+(?P<step_accepted>\d+)/\s*(?P<step_drafted>\d+) draft tokens"),
    ),
    repeated=("step_accepted", "step_drafted"),
)

VLLM_RESPONSES: Final = Format(
    name="vLLM responses",
    about="A line is the response of a server with --per-request-spec-decode-metrics. Steps without a "
    "draft are not counted, so that tokens a step over all steps are not known; rates are over drafted "
    "tokens.",
    marks=("choices", "usage", "metrics.speculative_decoding"),
    needs=("choices", "usage"),
    model="model",
    answer={
        "name": Field("id", kinds.TEXT),
        "error": Field("error.message error", kinds.TEXT),
        "num_prompt_tokens": Field("usage.prompt_tokens", kinds.COUNT),
        "num_tokens": Field("usage.completion_tokens", kinds.COUNT),
        **_vllm_counts("metrics.speculative_decoding"),
        "time_to_first_token_s": Field("metrics.time_to_first_token_ms", kinds.MILLISECONDS),
        # Its own tokens a second have the prompt's time in them.
        "tokens_per_s": Field("metrics.mean_itl_ms", kinds.MILLISECONDS_EACH),
        "request_tokens_per_s": Field("metrics.tokens_per_second", kinds.MEAN_OR_UNTOLD),
    },
)  # fmt: skip
VLLM_BENCH: Final = Format(
    name="vLLM bench serve",
    about="Counts are the differences of the whole server's counters, so that other clients' requests "
    "are in them. Steps without a draft are not counted; a gap is between chunks of the stream, each a "
    "step or several joined.",
    marks=("endpoint_type backend", "model_id", "num_prompts", "duration", "completed"),
    needs=("duration", "completed"),
    model="model_id",
    is_columns=True,
    answer={
        **_BENCH_COLUMNS,
        "gaps_s": Field("itls", kinds.SECONDS_LIST),
        "total_s": Field("latencies", kinds.SECONDS_OR_UNTOLD),
    },
    whole={
        **_BENCH_WHOLE,
        "gap_p50_s": Field("median_itl_ms", kinds.MILLISECONDS_OR_UNTOLD),
        "gap_p99_s": Field("p99_itl_ms", kinds.MILLISECONDS_OR_UNTOLD),
        "num_drafted_steps": Field("spec_decode_num_drafts", kinds.COUNT),
        "num_drafted": Field("spec_decode_draft_tokens", kinds.COUNT),
        "num_accepted": Field("spec_decode_accepted_tokens", kinds.COUNT),
        "drafted_tau": Field("spec_decode_acceptance_length", kinds.MEAN_OR_UNTOLD),
        "acceptance_rate": Field("spec_decode_acceptance_rate", kinds.PERCENT),
    },
    position_rates="spec_decode_per_position_acceptance_rates",
)
SGLANG_BENCH: Final = Format(
    name="SGLang bench",
    about="Each line is a whole benchmark. Its tokens a step are the server's mean over all verify "
    "passes since its start or its last flush of the cache, not this benchmark's alone; drafted and "
    "accepted tokens are not told. Its gaps are those between chunks, spread over the tokens of each, "
    "and are left out.",
    marks=("backend", "dataset_name", "request_rate", "duration", "completed", "accept_length"),
    needs=("duration", "completed"),
    model="server_info.model_path server_info.served_model_name",
    is_columns=True,
    answer=_BENCH_COLUMNS,
    whole={**_BENCH_WHOLE, "tau": Field("accept_length", kinds.MEAN_OR_UNTOLD)},
)
AIPERF: Final = Format(
    name="AIPerf records",
    about="A line is a request as the client measured it. Speculation is what vLLM put into the "
    "response: steps without a draft are not counted, and rates are over drafted tokens.",
    marks=("metadata.request_start_ns", "metadata.record_processor_id", "metrics"),
    needs=("metadata.request_start_ns", "metrics"),
    left_out=("metadata.benchmark_phase", "warmup"),
    answer={
        "name": Field("metadata.x_request_id metadata.session_num", kinds.TEXT),
        "error": Field("error.message error.type error", kinds.TEXT),
        "failure": Field("metadata.was_cancelled", kinds.CANCELLED_IF_TRUE),
        "num_prompt_tokens": Field("metrics.input_sequence_length", kinds.MEASURED_COUNT),
        "num_tokens": Field(
            "metrics.usage_completion_tokens metrics.output_sequence_length", kinds.MEASURED_COUNT
        ),
        **_vllm_counts("spec_decode_acceptance"),
        "time_to_first_token_s": Field("metrics.time_to_first_token", kinds.MEASURED),
        "total_s": Field("metrics.request_latency", kinds.MEASURED),
        "tokens_per_s": Field("metrics.output_token_throughput_per_user", kinds.MEASURED_MEAN),
        "gaps_s": Field("metrics.inter_chunk_latency", kinds.MEASURED),
        "start_s": Field("metadata.request_start_ns", kinds.NANOSECONDS),
        "end_s": Field("metadata.request_end_ns", kinds.NANOSECONDS),
    },
)
SPEED_BENCH: Final = Format(
    name="llama.cpp SPEED-Bench",
    about="A row is a question, all its turns together. It tells how many tokens were drafted and "
    "accepted, and not in how many steps; 0 drafted tokens may also mean that the server told none.",
    marks=("config.bench", "results", "selected_samples"),
    needs=("results",),
    model="config.model",
    answers="results",
    answer={
        "name": Field("id", kinds.TEXT),
        "category": Field("category", kinds.TEXT),
        "error": Field("error", kinds.TEXT),
        "failure": Field("ok", kinds.FAILED_IF_FALSE),
        "num_prompt_tokens": Field("prompt_tokens", kinds.COUNT),
        "num_tokens": Field("completion_tokens", kinds.COUNT),
        "num_drafted": Field("draft_n", kinds.COUNT_OR_UNTOLD),
        "num_accepted": Field("draft_n_accepted", kinds.COUNT),
        "decode_s": Field("predicted_ms", kinds.MILLISECONDS),
        "total_s": Field("latency_s", kinds.SECONDS),
    },
)
_FIRST_CHOICE: Final = {
    "name": Field("question_id", kinds.TEXT),
    "category": Field("category", kinds.TEXT),
    "error": Field("choices.0.turns", kinds.BROKEN_TURN),
    "num_tokens": Field("choices.0.new_tokens", kinds.TOTAL_COUNT),
    "total_s": Field("choices.0.wall_time", kinds.TOTAL_SECONDS),
}
"""What the programs tell alike that write answers as FastChat does."""

SPEC_BENCH: Final = Format(
    name="Spec-Bench answers",
    about="A line is a question, all its turns together; only its first choice is read. Every step is "
    "told by the tokens it gave, the target's own included; drafted tokens are not told, and times "
    "include the prompt.",
    marks=("question_id", "model_id", "choices.0.decoding_steps", "choices.0.accept_lengths"),
    needs=("question_id", "choices.0.new_tokens", "choices.0.accept_lengths"),
    model="model_id",
    every_step=True,
    answer={
        **_FIRST_CHOICE,
        "accepted_by_step": Field("choices.0.accept_lengths", kinds.LENGTHS),
    },
)
EAGLE: Final = Format(
    name="EAGLE answers",
    about="A line is a question, all its turns together; only its first choice is read. It tells the "
    "number of steps and of tokens, from which tokens a step follow; times include the prompt.",
    marks=("question_id", "model_id", "choices.0.idxs", "choices.0.new_tokens"),
    needs=("question_id", "choices.0.idxs", "choices.0.new_tokens"),
    model="model_id",
    every_step=True,
    answer={**_FIRST_CHOICE, "num_steps": Field("choices.0.idxs", kinds.LAST_INDEXES)},
)
LLAMA_LOG: Final = Format(
    name="llama.cpp server log",
    about="A row is a request that was answered; its first token comes when the prompt is read, without "
    "the time it waited. Steps stand in logs of the highest verbosity alone; "
    "else the number of steps with a draft follows from their mean where only one number fits. Steps "
    "without a draft are not counted.",
    marks=(),
    log=_LLAMA_LOG,
    answer={
        "name": Field("task", kinds.TEXT),
        "num_tokens": Field("num_tokens", kinds.COUNT),
        "num_drafted": Field("num_drafted", kinds.COUNT),
        "num_accepted": Field("num_accepted", kinds.COUNT),
        "drafted_tau": Field("mean_length", kinds.MEAN_OR_UNTOLD),
        "accepted_by_step": Field("step_accepted", kinds.COUNTS),
        "drafted_by_step": Field("step_drafted", kinds.COUNTS),
        "decode_s": Field("decode_ms", kinds.MILLISECONDS),
        "time_to_first_token_s": Field("prompt_ms", kinds.MILLISECONDS),
        "total_s": Field("total_ms", kinds.MILLISECONDS),
    },
)

FORMATS: Final = (
    VLLM_RESPONSES, VLLM_BENCH, SGLANG_BENCH, AIPERF, SPEED_BENCH, SPEC_BENCH, EAGLE, LLAMA_LOG,
)  # fmt: skip
