"""One prompt, or a branch of a run, on the command line: `python -m core.generate --prompt TEXT`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.command_line import (
    OneSentenceParser,
    add_run_options,
    all_settings,
    check_needed,
    check_writable,
    config_from_options,
    flag_of,
    given_options,
    tell_notes,
    told,
    told_if_not_written,
)
from core.config import RunConfig
from core.distributed.role import follow, is_follower
from core.drafters.memory_file import asked_memory, keep_memory
from core.drafters.suffix_memory import SuffixMemory
from core.errors import InvalidSettingError, SpecDecodesError, StorageError
from core.models.detokenizer import TokenTable
from core.models.progress_bar import ProgressBar
from core.models.sources import find_model
from core.modes.server import is_address
from core.runtime.console import INTERRUPTED, Interrupt, json_line, run_command
from core.runtime.imports import quick_imports, read_torch_ahead
from core.runtime.text_files import STANDARD_INPUT, read_text
from core.settings import named_token
from core.trace.events import (
    Committed,
    DrafterFailed,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
    ServerTotals,
)
from core.trace.file import Trace, load_trace, save_trace
from core.trace.fork import fork_of
from core.trace.stats import RunStats, differences

_STATS = (
    "num_tokens", "num_steps", "num_drafted", "num_tested", "num_accepted", "acceptance_rate",
    "acceptance_length", "tokens_per_s", "prefill_s", "draft_s", "verify_s", "accept_s",
    "commit_s", "other_s", "total_s",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status: 2 for bad input, 1 for a failed run and 130 for
    one that was interrupted, whose answer so far is written as that of any other."""
    parser = OneSentenceParser(prog="core.generate", description=__doc__)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--prompt", help="the text to answer or to continue; - reads it from stdin")
    asked.add_argument(
        "--prompt-file", type=Path, metavar="F", help="read it from this file; - is stdin"
    )
    asked.add_argument(
        "--fork",
        type=Path,
        metavar="TRACE",
        help="go on with the answer of this trace, with another token in it, under its own settings",
    )
    parser.add_argument("--at", type=int, metavar="N", help="where that token stands, from 0")
    parser.add_argument("--token", help="that token: its id, or its text with the space before it")
    parser.add_argument("--system", help="system prompt; unset takes the chat template's own")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="continue the text, without a template; control tokens in it count",
    )
    add_run_options(parser)
    parser.add_argument("--trace", type=Path, help="write the trace to this JSONL file")
    parser.add_argument("--csv", type=Path, help="write a table of the run to this CSV file")
    parser.add_argument(
        "--csv-table", choices=("steps", "tokens", "nodes"), help="which table (default: steps)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    options = parser.parse_args(arguments)
    if is_follower():
        return follow(options.device)
    try:
        for path in (options.trace, options.csv):
            check_writable(path)
        check_needed(options, "csv_table", "csv")
        if options.raw and options.system is not None:
            raise InvalidSettingError(
                "--system is no setting beside --raw, which uses no template; leave one of them out."
            )
        if options.memory is True:
            raise InvalidSettingError(
                "--memory has no file, and this command gives one answer; give it a file."
            )
        parent = _parent(options)
        config = config_from_options(options) if parent is None else _config_of(parent)
        memory = asked_memory(options.memory)
        prompt = _prompt_text(options) if parent is None else parent
        interrupt = Interrupt()
        events = _start(config, prompt, options, memory, interrupt)
        with interrupt.caught():
            trace = _collect(events, echo=not options.json)
    except SpecDecodesError as error:
        return told(error)
    if interrupt():
        print("stopped", file=sys.stderr)
    if options.json:
        print(json_line(_result(trace)))
    for broken in trace.of_kind(DrafterFailed):
        print(f"without drafts from step {broken.step} on: {broken.message}", file=sys.stderr)
    failed = trace.first(RunFailed)
    if failed is not None:
        print(f"the run failed after {failed.step} steps: {failed.message}", file=sys.stderr)
    try:
        _write_files(trace, options)
        keep_memory(memory, options.memory)
    except StorageError as error:
        return told(error)
    if failed:
        return 1
    return INTERRUPTED if interrupt() else 0


def _parent(options: Any) -> Trace | None:
    """The run that is gone on with; None where there is none. Raises InvalidSettingError for options
    that do not go together, and TraceFormatError for what is no trace."""
    for name in ("at", "token"):
        check_needed(options, name, "fork")
    if options.fork is None:
        return None
    given = given_options(options)
    for name in ("at", "token"):
        if name not in given:
            raise InvalidSettingError(
                f"--fork has no {flag_of(name)}; give --at the place of a token in the answer, from 0, "
                "and --token what is to stand there."
            )
    for name in sorted(given.keys() & (all_settings() | {"mode", "memory", "system"})):
        raise InvalidSettingError(
            f"{flag_of(name)} is no setting beside --fork, which goes on under the settings of the "
            "trace; leave one of them out."
        )
    if options.raw:
        raise InvalidSettingError(
            "--raw is no setting beside --fork, which has the prompt of the trace; leave one of them "
            "out."
        )
    try:
        parent = load_trace(options.fork)
    except OSError as error:
        raise InvalidSettingError(
            f"{options.fork} cannot be read ({error.strerror or error}); give a trace."
        ) from error
    fork_of(parent, options.at, 0)  # the place is checked before a model is loaded
    return parent


def _config_of(parent: Trace) -> RunConfig:
    started = parent.first(RunStarted)
    assert started is not None, "it has branches"
    return RunConfig.from_dict(started.config)


def _prompt_text(options: Any) -> str:
    """The prompt of the options; raises InvalidSettingError for none and for no text."""
    text: str = options.prompt or ""
    path = Path(STANDARD_INPUT) if text == STANDARD_INPUT else options.prompt_file
    if path is not None:
        text = read_text(path, "give a text file, or - for the standard input")
        # Editors and echo end the last line, too.
        text = text.replace("\r\n", "\n").removesuffix("\n")
    if not text.strip():
        raise InvalidSettingError("the prompt is empty; give --prompt some text.")
    return text


def _write_files(trace: Trace, options: Any) -> None:
    """The files that were asked for; raises StorageError where the disk takes one not."""
    if options.trace:
        with told_if_not_written(options.trace):
            save_trace(trace, options.trace)
    if options.csv:
        from visualize.exports import export_csv

        with told_if_not_written(options.csv):
            export_csv(trace, options.csv, options.csv_table or "steps")


def _start(
    config: RunConfig,
    prompt: str | Trace,
    options: Any,
    memory: SuffixMemory | None,
    should_stop: Interrupt,
) -> Iterator[Event]:
    """Loads the target and starts the run; torch is imported once the options are known to be good,
    and what a model's headers say is read beside it. A server needs neither."""
    if is_address(config.target):
        from core.attached.engine import AttachedEngine  # httpx is for those who ask a server

        server = AttachedEngine(config.target)
        return server.run(_as_read(server, prompt, options), config, should_stop=should_stop)
    read_torch_ahead()
    with ProgressBar(config.target) as bar:
        source = find_model(config.target, bar.show)
        with quick_imports():
            from core.engine import Engine
            from core.loading.loading import load_target
        engine = Engine(load_target(config, bar.show, source), progress=bar.show)
        asked = _as_read(engine, prompt, options)
        events = engine.run(asked, config, memory=memory, should_stop=should_stop)
    tell_notes(engine.target, config, engine.host_reason(config))
    return events


def _as_read(engine: Any, prompt: str | Trace, options: Any) -> Any:
    """What an engine, ours or a server's, is given to run: a text, or the branch of a run."""
    if isinstance(prompt, Trace):
        token, tokenizer = named_token(options.token), engine.target.tokenizer
        if isinstance(token, str):
            token = TokenTable(tokenizer).id_of(token, 1 + max(tokenizer.get_vocab().values()))
        return engine.fork_prompt(fork_of(prompt, options.at, token))
    if options.raw:
        return engine.raw_prompt(prompt)
    messages = [{"role": "user", "content": prompt}]
    if options.system is not None:
        messages.insert(0, {"role": "system", "content": options.system})
    return engine.chat_prompt(messages)


def _collect(events: Iterator[Event], *, echo: bool) -> Trace:
    """Runs to the end and keeps the events."""
    trace = Trace()
    for event in events:
        trace.events.append(event)
        if echo and isinstance(event, Committed):
            print("".join(event.texts), end="", flush=True)
        elif echo and isinstance(event, RunFinished):
            print(event.tail_text, end="")
    if echo:
        print()
        _print_summary(trace)
    return trace


def _print_summary(trace: Trace) -> None:
    stats = trace.stats
    parts = [f"{stats.num_tokens} tokens", _steps_in_words(stats)]
    if stats.tokens_per_s:
        parts.append(f"{stats.tokens_per_s:.1f} tokens/s")
    if stats.acceptance_length:
        bound = "at most " if stats.origins.get("num_steps") == "at least" else ""
        parts.append(f"tau {bound}{stats.acceptance_length:.2f}")
    if stats.acceptance_rate is not None:
        parts.append(f"{stats.acceptance_rate:.0%} of {stats.num_tested} tested accepted")
    elif stats.num_drafted and stats.known("num_accepted") is not None:
        parts.append(f"{stats.num_accepted} of {stats.num_drafted} drafted accepted")
    print(", ".join(parts), file=sys.stderr)
    for totals in trace.of_kind(ServerTotals):
        for name, reported, seen in differences(totals):
            print(
                f"the server tells {name} {reported:g}, and its stream showed {seen:g}",
                file=sys.stderr,
            )


def _steps_in_words(stats: RunStats) -> str:
    origin = stats.origins.get("num_steps")
    if origin == "unknown":
        return "steps unknown"
    return f"{'at least ' if origin == 'at least' else ''}{stats.num_steps} steps"


def _result(trace: Trace) -> dict[str, Any]:
    started = trace.first(RunStarted)
    finished = trace.first(RunFinished)
    stats = trace.stats.to_dict()
    assert started is not None, "a run begins with its start"
    return {
        "mode": started.config["mode"],
        "target": started.config["target"],
        "draft": started.config["draft"],
        "dtype": started.config["dtype"],
        "device": None if started.server else started.config["device"],
        "token_ids": trace.token_ids,
        "text": trace.text,
        "finish_reason": finished.reason if finished else "failed",
        "peak_memory_bytes": finished.peak_memory_bytes if finished else None,
        "stats": {name: stats[name] for name in _STATS},
        **({} if started.server is None else {"server": _server_part(trace, stats)}),
    }


def _server_part(trace: Trace, stats: dict[str, Any]) -> dict[str, Any]:
    """What else is to be known of an answer of a server."""
    started, totals = trace.first(RunStarted), trace.first(ServerTotals)
    return {
        **(started.server or {} if started else {}),
        "origins": stats["origins"],
        "told": totals.told if totals else {},
        "differences": [item._asdict() for item in differences(totals)] if totals else [],
    }


if __name__ == "__main__":
    run_command(main)
