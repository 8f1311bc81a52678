"""The columns of the tables that files of other programs give, and of traces beside them."""

from typing import Final

from visualize.columns import Column

_COUNTS: Final = {
    "num_prompt_tokens": Column("Int64", "tokens", "length of the prompts"),
    "num_tokens": Column("Int64", "tokens", "tokens generated"),
    "num_steps": Column("Int64", "steps", "all steps, with a draft or without"),
    "num_drafted_steps": Column("Int64", "steps", "steps that had a draft"),
    "num_drafted": Column("Int64", "tokens", "draft tokens proposed"),
    "num_accepted": Column("Int64", "tokens", "draft tokens kept"),
    "acceptance_rate": Column("Float64", "0 to 1", "num_accepted / num_drafted"),
    "acceptance_length": Column(
        "Float64", "tokens/step", "tau over all steps, the target's own token included"
    ),
    "drafted_length": Column(
        "Float64", "tokens/step", "the same over the steps that had a draft: 1 + accepted / steps"
    ),
}
_PACE: Final = {
    "tokens_per_s": Column(
        "Float64", "tokens/s", "while generating, without the prompt, over the answers that tell it"
    ),
    "request_tokens_per_s": Column(
        "Float64", "tokens/s", "over the whole time of the answers that tell it"
    ),
}

IMPORT_COLUMNS: Final[dict[str, dict[str, Column]]] = {
    "sources": {
        "source": Column("string", "", "the file, with the line of a benchmark, or the run"),
        "format": Column("string", "", "kind of file"),
        "model": Column("string", "", "name of the target as the file has it"),
        "holds": Column(
            "string", "", "the finest it tells of speculation: steps, histogram, totals or nothing"
        ),
        "num_answers": Column("Int64", "answers", "answers that did not fail"),
        "num_failed": Column("Int64", "answers", "answers that failed"),
        "num_counted": Column("Int64", "answers", "answers that tell what was drafted or accepted"),
        **_COUNTS,
        **_PACE,
        "throughput": Column("Float64", "tokens/s", "all answers over the time of the benchmark"),
        "first_token_p50_ms": Column("Float64", "ms", "time to the first token, median"),
        "first_token_p99_ms": Column("Float64", "ms", "time to the first token, 99th percentile"),
        "gap_p50_ms": Column("Float64", "ms", "between the parts of a stream, median"),
        "gap_p99_ms": Column("Float64", "ms", "between the parts of a stream, 99th percentile"),
    },
    "answers": {
        "source": Column("string", "", "the file, with the line of a benchmark, or the run"),
        "answer": Column("string", "", "name of the request or question, else its number"),
        "category": Column("string", "", "category of the question"),
        **_COUNTS,
        **_PACE,
        "first_token_ms": Column("Float64", "ms", "time to the first token"),
        "total_s": Column("Float64", "s", "time of the whole answer"),
        "error": Column("string", "", "why there is no answer; nothing else is known then"),
    },
    "answer_steps": {
        "source": Column("string", "", "the file, with the line of a benchmark, or the run"),
        "answer": Column("string", "", "name of the request or question, else its number"),
        "step": Column("int64", "", "number of the step among those that are told, from 1"),
        "num_drafted": Column("Int64", "tokens", "draft tokens proposed"),
        "num_accepted": Column("int64", "tokens", "draft tokens kept"),
    },
    "accepted_counts": {
        "source": Column("string", "", "the file, with the line of a benchmark, or the run"),
        "num_accepted": Column("int64", "tokens", "draft tokens that a step kept"),
        "num_steps": Column("int64", "steps", "steps that kept so many"),
        "share": Column("float64", "0 to 1", "of the steps that are told"),
        "share_at_least": Column("float64", "0 to 1", "steps that kept so many or more"),
    },
}
"""By table and column; the first table has a row a source."""
