"""Many prompts side by side on the command line: `python -m core.generate_batch --prompts F.txt`.

Writes one JSON object a prompt, in the order in which the answers end.
"""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from core.command_line import (
    OneSentenceParser,
    add_run_options,
    check_writable,
    config_from_options,
    tell_notes,
    told,
    told_if_not_written,
)
from core.config import RunConfig
from core.distributed.role import follow, is_follower
from core.drafters.memory_file import asked_memory, keep_memory
from core.drafters.suffix_memory import SuffixMemory
from core.errors import InvalidSettingError, SpecDecodesError
from core.models.progress_bar import ProgressBar
from core.modes.server import is_address
from core.runtime.console import INTERRUPTED, Interrupt, json_line, run_command
from core.runtime.imports import quick_imports
from core.runtime.storage import Progress
from core.runtime.text_files import numbered_lines, read_text
from core.trace.events import DrafterFailed, RunFailed, RunFinished
from core.trace.file import Trace, save_trace


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input and 1 where an answer failed."""
    parser = OneSentenceParser(prog="core.generate_batch", description=__doc__)
    parser.add_argument(
        "--prompts", type=Path, required=True, metavar="F.txt", help="a prompt a line; - is stdin"
    )
    parser.add_argument("--size", type=int, default=8, help="prompts side by side (default: 8)")
    parser.add_argument("--system", help="system prompt; unset takes the chat template's own")
    parser.add_argument("--out", type=Path, metavar="F.jsonl", help="write here, not to the screen")
    parser.add_argument("--traces", type=Path, metavar="DIR", help="write a trace a prompt here")
    add_run_options(parser)
    options = parser.parse_args(arguments)
    if is_follower():
        return follow(options.device)
    try:
        check_writable(options.out)
        config = config_from_options(options)
        memory = asked_memory(options.memory)
        prompts = _prompts(options.prompts)
        with ExitStack() as stack:
            out: TextIO = sys.stdout
            if options.out is not None:
                stack.enter_context(told_if_not_written(options.out))
                out = stack.enter_context(options.out.open("w", encoding="utf-8"))
            result = _run(config, prompts, options, memory, out)
        keep_memory(memory, options.memory)
    except SpecDecodesError as error:
        return told(error)
    if result.is_stopped:
        print(
            f"stopped; {result.num_written} of {len(prompts)} answers are written", file=sys.stderr
        )
        return INTERRUPTED
    return 1 if result.num_failed else 0


class _Line(NamedTuple):
    """A prompt and where it stands."""

    number: int
    """From 1, blank lines counted."""
    prompt: str


class _Result(NamedTuple):
    num_written: int
    num_failed: int
    is_stopped: bool


def _prompts(path: Path) -> list[_Line]:
    """The lines that hold text; raises InvalidSettingError."""
    wanted = "give a file with a prompt a line"
    lines = [_Line(*line) for line in numbered_lines(read_text(path, wanted))]
    if not lines:
        raise InvalidSettingError(f"{path} has no text; {wanted}.")
    return lines


def _engine(config: RunConfig, progress: Progress) -> Any:
    """Our own engine with the target loaded, or the server that is the target."""
    if is_address(config.target):
        from core.attached.engine import AttachedEngine  # httpx is for those who ask a server

        return AttachedEngine(config.target)
    with quick_imports():
        from core.engine import Engine
        from core.loading.loading import load_target
    engine = Engine(load_target(config, progress), progress=progress)
    tell_notes(engine.target, config)
    return engine


def _run(
    config: RunConfig,
    prompts: list[_Line],
    options: Any,
    memory: SuffixMemory | None,
    out: TextIO,
) -> _Result:
    """Writes the answers as they end, and says which failed.

    An interrupt ends those that have begun with what they have; the others are not written.
    """
    interrupt = Interrupt()
    with ProgressBar(config.target) as bar:
        engine = _engine(config, bar.show)
        system = [] if options.system is None else [{"role": "system", "content": options.system}]
        runs = [
            (engine.chat_prompt([*system, {"role": "user", "content": line.prompt}]), config)
            for line in prompts
        ]
        events = engine.run_batch(runs, options.size, memory=memory, should_stop=interrupt)
    traces = [Trace() for _ in prompts]
    num_written = num_failed = 0
    with interrupt.caught():
        for index, event in events:
            traces[index].events.append(event)
            if not isinstance(event, (RunFinished, RunFailed)):
                continue
            line = prompts[index]
            for broken in traces[index].of_kind(DrafterFailed):
                where = f"line {line.number}, without drafts from step {broken.step} on"
                print(f"{where}: {broken.message}", file=sys.stderr)
            print(json_line(_answer(index, line, traces[index])), file=out, flush=True)
            num_written += 1
            if isinstance(event, RunFailed):
                num_failed += 1
                print(f"line {line.number} failed: {event.message}", file=sys.stderr)
            if options.traces is not None:
                with told_if_not_written(options.traces):
                    options.traces.mkdir(parents=True, exist_ok=True)
                    save_trace(traces[index], options.traces / f"{index}.jsonl")
            traces[index] = Trace()  # a long list of prompts does not fill the memory
    return _Result(num_written, num_failed, interrupt())


def _answer(index: int, line: _Line, trace: Trace) -> dict[str, Any]:
    failed, finished = trace.first(RunFailed), trace.first(RunFinished)
    stats = trace.stats
    return {
        "index": index,
        "line": line.number,
        "prompt": line.prompt,
        "text": trace.text,
        "finish_reason": finished.reason if finished else "failed",
        "error": failed.message if failed else None,
        "num_tokens": stats.num_tokens,
        "num_steps": stats.known("num_steps"),
        "acceptance_rate": stats.acceptance_rate,
        "acceptance_length": stats.acceptance_length,
    }


if __name__ == "__main__":
    run_command(main)
