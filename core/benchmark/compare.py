"""Measures modes against plain decoding: `python -m core.benchmark.compare --modes ngram`."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.benchmark.comparison import PLAIN, Task, failed_task, tasks_of
from core.benchmark.executor import Executor, open_executor
from core.benchmark.load import Load, LoadTask, load_table, load_tasks
from core.benchmark.measurement import Measurement
from core.benchmark.named_configs import configs_of_modes
from core.benchmark.options import (
    add_cluster_options,
    add_question_options,
    cluster_from_options,
    questions_from_options,
)
from core.benchmark.outside.engines import PLACES, SERVER, parse_engines
from core.benchmark.peer_pace import pace_table
from core.benchmark.report import answers_csv, caption, make_report
from core.benchmark.result_file import ResultFile
from core.benchmark.summary import summarize
from core.benchmark.tables import Table, facts_table, markdown, print_tables, tables_of
from core.benchmark.task_progress import TaskProgress
from core.command_line import (
    OneSentenceParser,
    add_run_options,
    check_needed,
    check_writable,
    start_logging,
    told,
    words,
    write_text,
)
from core.distributed.role import follow, is_follower
from core.errors import InvalidSettingError, SpecDecodesError, StorageError, shown
from core.models.progress_bar import ProgressBar
from core.modes.server import is_address
from core.modes.settings import remembers
from core.runtime.console import INTERRUPTED, run_command
from core.runtime.imports import quick_imports
from core.runtime.strict_json import dumps

if TYPE_CHECKING:
    from core.benchmark.bench import Plan


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input, 1 where an answer failed."""
    options = _parser().parse_args(arguments)
    if is_follower():
        return follow(options.device)
    try:
        start_logging()
        for path in (options.json, options.csv, options.html, options.markdown):
            check_writable(path)
        check_needed(options, "resume", "results")
        _check_target(options.target or "")
        questions = questions_from_options(options)
        tasks = list(tasks_of(questions, options.repeats))
        at_once = load_tasks(options.concurrency, options.goodput, questions)
        outside = parse_engines(options.outside)
        # transformers' assisted generation takes the draft model too.
        elsewhere = {"draft"} if any(item.name == "transformers" for item in outside) else ()
        specs = tuple(dict.fromkeys((PLAIN, *options.modes)))
        named = configs_of_modes(options, specs, elsewhere)
        is_remembered = any(remembers(item.config.drafter) for item in named)
        cluster = cluster_from_options(options, remembers=is_remembered)
        with quick_imports():
            from core.benchmark.bench import Bench, Plan
        plan = Plan(named, outside, options.draft)
        with open_executor(partial(Bench, plan), cluster) as executor:
            file = _result_file(options, plan)
            with ProgressBar(named[0].config.target) as bar:
                executor.start(bar.show)
            measured = _measure(executor, tasks, file)
            loads = _loads(executor, at_once) if measured.is_complete else []
            benches = list(executor.descriptions)
    except SpecDecodesError as error:
        return told(error)
    except KeyboardInterrupt:
        print("stopped before anything was measured", file=sys.stderr)
        return INTERRUPTED
    measurements = measured.measurements
    report = make_report(
        sys.argv[1:] if arguments is None else arguments, benches, named, measurements, loads
    )
    tables = [
        *tables_of(summarize(measurements), benches[0].energy, measurements),
        *load_table(loads),
        *facts_table(benches[0].facts),
        *pace_table(benches[0].peer_paces),
    ]
    try:
        _write(options, report, tables, measurements)
    except StorageError as error:
        return told(error)
    if not measured.is_complete:
        return INTERRUPTED
    return 1 if any(item.error for item in measurements) else 0


def _check_target(target: str) -> None:
    """Raises InvalidSettingError for a server, which runs none of our modes."""
    if is_address(target):
        raise InvalidSettingError(
            f"target is {shown(target)}, a server, and modes run on a model that is loaded here; give "
            f"that as --target, and the server by --with {SERVER}={target}."
        )


def _parser() -> argparse.ArgumentParser:
    parser = OneSentenceParser(prog="core.benchmark.compare", description=__doc__)
    parser.add_argument(
        "--modes",
        type=words,
        required=True,
        help="modes beside naive, which always runs; commas; settings of one stand behind it: "
        "share-sd:bits=3",
    )
    places = ", ".join(f"{name}[={place}]" if place else name for name, place in PLACES.items())
    parser.add_argument(
        "--with",
        dest="outside",
        action="append",
        default=[],
        metavar="NAME[=WHERE][:OPTION=VALUE,...]",
        help=f"also another program, once each: {places}",
    )
    parser.add_argument(
        "--with-transformers",
        dest="outside",
        action="append_const",
        const="transformers",
        help="the same as --with transformers",
    )
    parser.add_argument(
        "--concurrency",
        type=words,
        default=(),
        metavar="N,...",
        help="also ask the questions' first turns with so many requests at once, and tell latencies: "
        "1,2,4,8",
    )
    parser.add_argument(
        "--goodput",
        type=words,
        default=(),
        metavar="NAME=MS,...",
        help="count the answers that keep all of these times: ttft=500,tpot=50,e2e=5000",
    )
    add_question_options(parser)
    add_cluster_options(parser)
    parser.add_argument(
        "--results", type=Path, metavar="F.jsonl", help="write measurements here as they come"
    )
    parser.add_argument(
        "--resume", action="store_true", default=None, help="go on with a file of --results"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write every figure to this file")
    parser.add_argument("--csv", type=Path, metavar="F", help="write a row an answer to this file")
    parser.add_argument("--html", type=Path, metavar="F", help="write a page with plots, offline")
    parser.add_argument("--markdown", type=Path, metavar="F", help="write the tables as Markdown")
    add_run_options(parser, with_mode=False)
    return parser


def _result_file(options: argparse.Namespace, plan: "Plan") -> ResultFile | None:
    if options.results is None:
        return None
    settings = {
        "configs": {label: config.to_dict() for label, config in plan.configs},
        "with": [engine.text for engine in plan.outside],
    }
    return ResultFile(options.results, settings, resume=bool(options.resume))


def _loads(executor: Executor[Any, Any], tasks: Sequence[LoadTask]) -> list[Load]:
    """The figures of all levels; those of a worker that ended are left out."""
    found: list[Load] = []
    with TaskProgress("levels of concurrency", len(tasks)) as progress:
        for task, result in executor.work(tasks):
            found += result or []
            progress.advance(f"{task.concurrency} at once")
    return sorted(found, key=lambda load: load.concurrency)


class _Measured(NamedTuple):
    """What was measured, and whether that is all."""

    measurements: list[Measurement]
    is_complete: bool


def _measure(
    executor: Executor[Any, Any], tasks: Sequence[Task], file: ResultFile | None
) -> _Measured:
    """All measurements in the order of the tasks; an interrupt keeps those of whole tasks."""
    known = {place: file.measured(task) for place, task in enumerate(tasks)} if file else {}
    results = {place: items for place, items in known.items() if items is not None}
    places = {id(task): place for place, task in enumerate(tasks)}
    labels = list(executor.descriptions[0].facts)
    is_complete = True
    waiting = [task for place, task in enumerate(tasks) if place not in results]
    with TaskProgress("questions", len(waiting)) as progress:
        try:
            for task, result in executor.work(waiting):
                measurements = result or failed_task(task, labels, "its workers ended")
                results[places[id(task)]] = measurements
                if file is not None:
                    file.append(task, measurements)
                progress.advance(f"question {task.question.question_id}, repeat {task.repeat}")
        except KeyboardInterrupt:
            if not results:
                raise
            print("stopped; what was measured until then follows", file=sys.stderr)
            is_complete = False
    return _Measured([item for place in sorted(results) for item in results[place]], is_complete)


def _write(
    options: argparse.Namespace,
    report: dict[str, Any],
    tables: Sequence[Table],
    measurements: Sequence[Measurement],
) -> None:
    """The tables on the terminal, and the files that were asked for."""
    print_tables(tables)
    print(f"\n{caption(report)}")
    if options.json:
        write_text(options.json, dumps(report, indent=1) + "\n")
    if options.csv:
        write_text(options.csv, answers_csv(measurements))
    if options.markdown:
        text = f"{markdown(tables)}\n\n{caption(report)}\n"
        write_text(options.markdown, text)
    if options.html:
        from visualize.report.comparison import comparison_html

        write_text(options.html, comparison_html(report, tables))


if __name__ == "__main__":
    run_command(main)
