"""The columns of every table: name, pandas dtype, unit and meaning. The documentation is checked
against this file, and frames and CSV files are made by it.
"""

from typing import Final, NamedTuple


class Column(NamedTuple):
    """A capital letter in the dtype (Int64, Float64) says that a cell may be empty."""

    dtype: str
    unit: str
    meaning: str


_RUN_KEYS: Final = {
    "run_id": Column("string", "", "identifier of the run"),
    "mode": Column("string", "", "mode of the run: which drafter proposes tokens"),
    "lossy_rule": Column(
        "string", "", "acceptance rule that changed the output's distribution; empty if none did"
    ),
}

_RUNS: Final = {
    **_RUN_KEYS,
    "started_at": Column("string", "ISO 8601, UTC", "when the run began"),
    "target": Column("string", "", "name of the target model"),
    "draft": Column("string", "", "name of the draft model; empty without one"),
    "dtype": Column("string", "", "number format of the weights"),
    "device": Column("string", "", "the device in words"),
    "seed": Column("Int64", "", "seed of the run"),
    "parent": Column("string", "", "run that this one is a branch of; empty where it is none"),
    "forked_at": Column(
        "Int64",
        "",
        "place in the answer, from 0, of the first token that was chosen; empty but for a branch",
    ),
    "config_json": Column("string", "JSON", "all settings of the run"),
    "outcome": Column(
        "string", "", "eos, stop_string, length, context, stopped or failed; empty if cut off"
    ),
    "error": Column("string", "", "class and message of the error that ended the run"),
    "num_prompt_tokens": Column("Int64", "tokens", "length of the prompt"),
    "num_reused": Column("Int64", "tokens", "prompt tokens that were in the cache already"),
    "num_remembered": Column(
        "Int64", "tokens", "earlier answers that lookup searched; empty if it searched none"
    ),
    "num_tokens": Column("int64", "tokens", "tokens emitted"),
    "num_steps": Column("Int64", "steps", "steps, which are forward passes of the target"),
    "num_drafted": Column("Int64", "tokens", "draft tokens proposed"),
    "num_tested": Column("Int64", "tokens", "draft tokens that the target judged"),
    "num_accepted": Column("Int64", "tokens", "draft tokens kept"),
    "acceptance_rate": Column("Float64", "0 to 1", "num_accepted / num_tested"),
    "acceptance_length": Column(
        "Float64", "tokens/step", "tau: num_tokens / num_steps; steps without a draft count as well"
    ),
    "tokens_per_s": Column("Float64", "tokens/s", "num_tokens over the time of the steps"),
    "time_to_first_token_s": Column(
        "Float64", "s", "from the start of the run, the prompt included"
    ),
    "num_pauses": Column("int64", "", "pauses between texts, as they reach the reader"),
    "pause_p50_s": Column(
        "Float64",
        "s",
        "pause between texts, median; empty without a second text, as the next three",
    ),
    "pause_p95_s": Column("Float64", "s", "pause that 95% do not exceed"),
    "pause_p99_s": Column("Float64", "s", "pause that 99% do not exceed"),
    "longest_pause_s": Column("Float64", "s", "longest pause between texts"),
    "mean_burst": Column("Float64", "tokens", "tokens that reach the reader at once, mean"),
    "largest_burst": Column("Int64", "tokens", "most tokens that reach the reader at once"),
    "prefill_s": Column("float64", "s", "reading the prompt"),
    "draft_s": Column("Float64", "s", "drafting"),
    "verify_s": Column("Float64", "s", "forward passes of the target over the trees"),
    "accept_s": Column("Float64", "s", "judging the trees"),
    "commit_s": Column("Float64", "s", "moving accepted tokens into the cache"),
    "other_s": Column("Float64", "s", "recording and bookkeeping inside the steps"),
    "total_s": Column("float64", "s", "prefill and steps"),
    "peak_memory_bytes": Column("Int64", "bytes", "highest memory use; empty if not finished"),
    "server_json": Column(
        "string",
        "JSON",
        "the server that answered, as far as it tells of itself; empty for our engine",
    ),
    "origins_json": Column(
        "string", "JSON", "of the figures of a server: which are told, derived, a bound or unknown"
    ),
    "prompt_text": Column("string", "", "the prompt as written"),
    "text": Column("string", "", "the text of the answer, the beginning of a branch with it"),
}

_STEPS: Final = {
    **_RUN_KEYS,
    "step": Column("int64", "", "number of the step, from 1"),
    "drafter": Column("string", "", "the drafter that made this tree, none, or server"),
    "num_drafted": Column("Int64", "tokens", "draft tokens in the tree"),
    "num_tested": Column("Int64", "tokens", "draft tokens that the target judged"),
    "num_accepted": Column("Int64", "tokens", "draft tokens kept"),
    "num_emitted": Column("Int64", "tokens", "tokens the step added to the text"),
    "acceptance_length": Column(
        "Int64", "tokens", "num_emitted under the name whose mean over the steps is tau"
    ),
    "num_forwards": Column(
        "Int64",
        "forwards",
        "forward passes of the target, at least where a server's chunks may be joined",
    ),
    "max_depth": Column("Int64", "tokens", "depth of the tree; 0 for the root alone"),
    "t_start_s": Column("float64", "s", "start of the step, since the start of the run"),
    "draft_ms": Column("Float64", "ms", "drafting"),
    "verify_ms": Column("Float64", "ms", "forward pass of the target over the tree"),
    "accept_ms": Column("Float64", "ms", "judging the tree"),
    "commit_ms": Column("Float64", "ms", "moving accepted tokens into the cache"),
    "other_ms": Column("Float64", "ms", "recording and bookkeeping"),
    "step_ms": Column("float64", "ms", "the whole step inside the engine"),
    "num_rows": Column("Int64", "rows", "rows of the target's forward pass, the root included"),
    "cache_length": Column("Int64", "tokens", "committed tokens in the cache after the step"),
    "text": Column("string", "", "text the step added"),
}

_TOKENS: Final = {
    **_RUN_KEYS,
    "position": Column("int64", "", "place of the token in the output, from 0"),
    "step": Column("int64", "", "step that emitted it, from 1; 0 for what a branch began with"),
    "token_id": Column("Int64", "", "id in the target's vocabulary; empty if a server tells none"),
    "text": Column("string", "", "what the token adds to the text; empty inside a character"),
    "token_text": Column("string", "", "the token alone, decoded"),
    "source": Column(
        "string",
        "",
        "accepted, remembered, forced, recovered, bonus, plain or untold; inherited or chosen in what "
        "a branch began with",
    ),
    "depth": Column("int64", "", "place of the token among those of its step, from 1"),
    "node": Column("int64", "", "its node in the tree; -1 for the target's own and without a step"),
    "draft_prob": Column("Float64", "0 to 1", "the drafter's probability; empty if not drafted"),
    "target_prob": Column("Float64", "0 to 1", "the target's probability at temperature 1"),
    "entropy_nats": Column("Float64", "nats", "entropy of the target's distribution here"),
    "logit_gap": Column("Float64", "nats", "log ratio of the target's two best tokens here"),
    "t_s": Column("float64", "s", "when it was committed, since the start of the run"),
}

_NODES: Final = {
    **_RUN_KEYS,
    "step": Column("int64", "", "step of the tree, from 1"),
    "drafter": Column("string", "", "the drafter that made the tree"),
    "node": Column("int64", "", "index in the tree, from 1; 0 is the root, which is not drafted"),
    "parent": Column("int64", "", "index of the parent node"),
    "depth": Column("int64", "", "distance from the root"),
    "token_id": Column("int64", "", "id in the target's vocabulary"),
    "text": Column("string", "", "the token alone, decoded"),
    "draft_prob": Column("float64", "0 to 1", "the drafter's probability after the parent"),
    "target_prob": Column("Float64", "0 to 1", "the target's probability after the parent"),
    "entropy_nats": Column("Float64", "nats", "entropy of the target after the parent"),
    "status": Column("string", "", "accepted, rejected or untested"),
    "noise": Column("Float64", "", "the noise that the rule drew for it; see `accepted` below"),
    "threshold": Column("Float64", "", "what the rule held against it; see `accepted` below"),
}

COLUMNS: Final[dict[str, dict[str, Column]]] = {
    "runs": _RUNS,
    "steps": _STEPS,
    "tokens": _TOKENS,
    "nodes": _NODES,
}
