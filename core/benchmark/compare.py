"""Measures modes against plain decoding: `python -m core.benchmark.compare --modes ngram`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from core.benchmark.comparison import PLAIN, compare, warm_up
from core.benchmark.llama_cpp import llama_cpp_runners
from core.benchmark.measurement import Measurement
from core.benchmark.options import (
    INTERRUPTED,
    NamedConfig,
    add_question_options,
    answers_bar,
    configs_of_modes,
    questions_from_options,
)
from core.benchmark.questions import Question
from core.benchmark.report import answers_csv, caption, make_report
from core.benchmark.runners import EngineRunner, Runner
from core.benchmark.summary import summarize
from core.benchmark.tables import markdown, print_tables, tables_of
from core.benchmark.transformers_runner import transformers_runners
from core.command_line import (
    OneSentenceParser,
    add_run_options,
    check_writable,
    told_if_not_written,
    words,
)
from core.config import RunConfig
from core.engine import Engine
from core.errors import InvalidSettingError, SpecDecodesError, StorageError
from core.models.loading import LoadedModel, load_model, load_target
from core.models.progress_bar import ProgressBar


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input, 1 where an answer failed."""
    options = _parser().parse_args(arguments)
    try:
        for path in (options.json, options.csv, options.html):
            check_writable(path)
        if options.repeats < 1:
            raise InvalidSettingError(f"repeats is {options.repeats}; give at least 1.")
        questions = questions_from_options(options)
        modes = tuple(dict.fromkeys((PLAIN, *options.modes)))
        named = configs_of_modes(options, modes)
        configs = [config for _, config in named]
        with ProgressBar(configs[0].target) as bar:
            target, draft = _models(configs[0], bar, want_draft=options.with_transformers)
            engine = Engine(target, progress=bar.show, num_kept=len(named))
            runners = _runners(engine, named, draft, options.with_transformers)
            llama_cpp = (
                llama_cpp_runners(options.with_llama_cpp, target, configs[0])
                if options.with_llama_cpp
                else []
            )
            runners += llama_cpp
            first = [{"role": "user", "content": questions[0].turns[0]}]
            bar.show("warming up", 0, 0)
            warm_up(runners, engine.chat_prompt(first))
        measurements, is_complete = _measure(engine, runners, questions, options.repeats)
    except SpecDecodesError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped before anything was measured", file=sys.stderr)
        return INTERRUPTED
    report = make_report(
        sys.argv[1:] if arguments is None else arguments, target, named, measurements
    )
    tables = tables_of(summarize(measurements))
    if options.markdown:
        print(markdown(tables))
    else:
        print_tables(tables)
    print(f"\n{caption(report)}")
    for runner in llama_cpp:
        print(f"Peak memory of {runner.label}: {runner.peak_memory_bytes / 1e6:.0f} MB")
    _print_failures(measurements)
    try:
        if options.json:
            _write(options.json, json.dumps(report, indent=1) + "\n")
        if options.csv:
            _write(options.csv, answers_csv(measurements))
        if options.html:
            from visualize.report.comparison import comparison_html

            _write(options.html, comparison_html(report, tables))
    except StorageError as error:
        print(error, file=sys.stderr)
        return 1
    if not is_complete:
        return INTERRUPTED
    return 1 if any(item.error for item in measurements) else 0


def _write(path: Path, text: str) -> None:
    with told_if_not_written(path):
        path.write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = OneSentenceParser(prog="core.benchmark.compare", description=__doc__)
    parser.add_argument(
        "--modes",
        type=words,
        required=True,
        help="modes beside naive, which always runs; commas; settings of one stand behind it: "
        "share-sd:bits=3",
    )
    parser.add_argument(
        "--with-transformers",
        action="store_true",
        help="also transformers' generate, its prompt lookup, and with --draft its assisted one",
    )
    parser.add_argument(
        "--with-llama-cpp",
        type=Path,
        metavar="PYTHON",
        help="also llama.cpp on the target's GGUF file, by a Python that has llama-cpp-python",
    )
    add_question_options(parser)
    parser.add_argument("--repeats", type=int, default=1, help="answers to each prompt")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", type=Path, metavar="F", help="write every figure to this file")
    parser.add_argument("--csv", type=Path, metavar="F", help="write a row an answer to this file")
    parser.add_argument("--html", type=Path, metavar="F", help="write a page with plots, offline")
    add_run_options(parser, with_mode=False)
    return parser


def _models(
    config: RunConfig, bar: ProgressBar, *, want_draft: bool
) -> tuple[LoadedModel, LoadedModel | None]:
    target = load_target(config, bar.show)
    if not want_draft or config.draft is None:
        return target, None
    dtype = str(target.dtype).removeprefix("torch.")
    draft = load_model(
        config.draft, dtype=dtype, device=config.device, compile=False, progress=bar.show
    )
    return target, draft


def _runners(
    engine: Engine,
    named: Sequence[NamedConfig],
    draft: LoadedModel | None,
    with_transformers: bool,
) -> list[Runner]:
    for _, config in named:
        reason = engine.unavailable_reason(config.mode, config.draft)
        if reason is not None:
            raise InvalidSettingError(reason)
    runners: list[Runner] = [EngineRunner(engine, config, label=label) for label, config in named]
    if with_transformers and engine.target.weights != "full":
        raise InvalidSettingError(
            f"transformers has no weights {engine.target.weights}; leave weights or transformers "
            "out."
        )
    if with_transformers:
        runners += transformers_runners(engine.target, named[0].config, draft)
    return runners


class _Measured(NamedTuple):
    """What was measured, and whether that is all."""

    measurements: list[Measurement]
    is_complete: bool


def _measure(
    engine: Engine, runners: Sequence[Runner], questions: Sequence[Question], repeats: int
) -> _Measured:
    """All measurements; an interrupt ends them and keeps the turns that are complete."""
    measurements: list[Measurement] = []
    num_turns = sum(len(question.turns) for question in questions) * repeats
    with answers_bar() as bar:
        task = bar.add_task("questions", total=num_turns)
        try:
            for turn in compare(runners, questions, engine.chat_prompt, repeats):
                measurements += turn
                bar.advance(task)
        except KeyboardInterrupt:
            print("stopped; what was measured until then follows", file=sys.stderr)
            return _Measured(measurements, False)
    return _Measured(measurements, True)


def _print_failures(measurements: Sequence[Measurement]) -> None:
    for item in measurements:
        if item.error is not None:
            place = f"question {item.question_id}, turn {item.turn}, repeat {item.repeat}"
            print(f"{item.runner} failed at {place}: {item.error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
