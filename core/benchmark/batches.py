"""Where speculation stops paying as batches grow: `python -m core.benchmark.batches`.

The same prompts run side by side in batches of every size and under every mode, in turn. Tokens per
second are those of all sequences together while all of them decode: from the moment when the last
prompt is read to the first sequence's end.
"""

import argparse
import itertools
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.benchmark.comparison import PLAIN
from core.benchmark.named_configs import NamedConfig, configs_of_modes
from core.benchmark.options import add_question_options, questions_from_options
from core.benchmark.questions import Question
from core.benchmark.report import caption
from core.benchmark.tables import Table, markdown, print_tables
from core.benchmark.wide_shapes import DRAFTERS
from core.command_line import (
    OneSentenceParser,
    add_run_options,
    check_writable,
    start_logging,
    told,
    words,
    write_text,
)
from core.config import MOST_TOGETHER
from core.distributed.role import follow, is_follower
from core.errors import InvalidSettingError, SpecDecodesError, StorageError
from core.models.progress_bar import ProgressBar
from core.runtime.console import INTERRUPTED, run_command
from core.runtime.imports import quick_imports
from core.runtime.strict_json import dumps
from core.trace.stamps import utc_now

if TYPE_CHECKING:
    from core.benchmark.batch_runs import BatchResult
    from core.decoding.run_start import Prompt
    from core.engine import Engine

_SIZES = "1,2,4,8,16,32,64"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status: 2 for bad input, 1 where a question was left out."""
    options = _parser().parse_args(arguments)
    if is_follower():
        return follow(options.device)
    try:
        start_logging()
        for path in (options.json, options.markdown):
            check_writable(path)
        sizes = _sizes(options.sizes)
        questions = questions_from_options(options)
        _check_enough(len(questions), sizes)
        named = _named(options)
        with quick_imports():
            from core.benchmark.batch_runs import answers, measure
            from core.engine import Engine
            from core.loading.loading import load_target
            from core.runtime.environment import describe_device, package_versions
        with ProgressBar(named[0].config.target) as bar:
            target = load_target(named[0].config, bar.show)
            engine = Engine(target, progress=bar.show, num_kept=len(named))
            asked = _prompts(engine, questions)
            status = 1 if len(asked) < len(questions) else 0
            _check_enough(len(asked), sizes)
            prompts = list(asked.values())
            for item in named:  # what it needs is made, and its kernels warm up
                answers(engine, prompts[:2], item.config, 2)
        results = measure(engine, prompts, named, sizes, options.repeats)
    except SpecDecodesError as error:
        return told(error)
    except KeyboardInterrupt:
        print("stopped; nothing is written", file=sys.stderr)
        return INTERRUPTED
    report = {
        "kind": "specdecodes-batches",
        "command": shlex.join(
            [
                "python",
                "-m",
                "core.benchmark.batches",
                *(sys.argv[1:] if arguments is None else arguments),
            ]
        ),
        "finished_at": utc_now(),
        "device": describe_device(target.device),
        "versions": package_versions(),
        "target": target.identity.to_dict(),
        "question_ids": list(asked),
        "results": [{**item._asdict(), "tokens_per_s": item.tokens_per_s} for item in results],
    }
    return _tell(report, tables_of_batches(results), options) or status


def _parser() -> argparse.ArgumentParser:
    parser = OneSentenceParser(prog="core.benchmark.batches", description=__doc__)
    parser.add_argument(
        "--modes",
        type=words,
        default=("ngram", "sd-classic", "sd-eagle", "hybrid"),
        help="modes beside naive; commas; settings as for core.benchmark.compare",
    )
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="folder that core.benchmark.widen wrote: its target, and each mode's drafter",
    )
    parser.add_argument("--sizes", type=words, default=words(_SIZES), help="batch sizes; commas")
    parser.add_argument("--json", type=Path, metavar="F", help="write every figure to this file")
    parser.add_argument("--markdown", type=Path, metavar="F", help="write the tables as Markdown")
    add_question_options(parser)
    add_run_options(parser, with_mode=False)
    return parser


def _named(options: argparse.Namespace) -> list[NamedConfig]:
    """The configurations, of the widened models where a folder of these is given."""
    folder = options.models
    if folder is not None and options.target is not None:
        raise InvalidSettingError("--models brings a target; leave out --target.")
    if folder is not None:
        options.target = str(folder / "target")
    named = configs_of_modes(options, tuple(dict.fromkeys((PLAIN, *options.modes))))
    if folder is None:
        return named
    return [
        item._replace(config=replace(item.config, draft=str(folder / DRAFTERS[item.config.mode])))
        if item.config.mode in DRAFTERS and item.config.draft is None
        else item
        for item in named
    ]


def _check_enough(num_questions: int, sizes: Sequence[int]) -> None:
    """Raises InvalidSettingError where the largest batch cannot be filled."""
    if num_questions < sizes[-1]:
        raise InvalidSettingError(
            f"the largest size is {sizes[-1]} and {num_questions} questions are there; give --limit "
            "as many, or smaller --sizes."
        )


def _prompts(engine: "Engine", questions: Sequence[Question]) -> dict[int, "Prompt"]:
    """The prompts by their questions' ids; one that does not fit is told and left out."""
    prompts = {}
    for question in questions:
        prompt = engine.chat_prompt([{"role": "user", "content": question.turns[0]}])
        try:
            engine.check_prompt(prompt)
        except InvalidSettingError as error:
            place = f"question {question.question_id} ({question.category})"
            print(f"failed at {place}: {error}", file=sys.stderr)
            continue
        prompts[question.question_id] = prompt
    return prompts


def _sizes(given: Sequence[str]) -> list[int]:
    """Batch sizes in increasing order; raises InvalidSettingError."""
    if not given:
        raise InvalidSettingError(
            f"sizes is empty; give numbers from 1 to {MOST_TOGETHER}, separated by commas."
        )
    for word in given:
        if not word.isdecimal() or not 1 <= int(word) <= MOST_TOGETHER:
            raise InvalidSettingError(
                f"sizes has {word!r}; give numbers from 1 to {MOST_TOGETHER}, separated by commas."
            )
    return sorted({int(word) for word in given})


def tables_of_batches(results: Sequence["BatchResult"]) -> list[Table]:
    """Tokens per second, ratio to plain decoding at the same size, and tokens a step."""
    sizes = sorted({item.size for item in results})
    modes = list(dict.fromkeys(item.mode for item in results))
    cells: dict[tuple[str, int], list[BatchResult]] = {}
    for item in results:
        cells.setdefault((item.mode, item.size), []).append(item)

    def speed(mode: str, size: int) -> float:
        return statistics.median(item.tokens_per_s for item in cells[mode, size])

    def ratio(mode: str, size: int) -> float:
        pairs = zip(cells[mode, size], cells[PLAIN, size], strict=True)
        return statistics.median(own.tokens_per_s / plain.tokens_per_s for own, plain in pairs)

    def pays_up_to(mode: str) -> str:
        """The largest size before the first one that is not faster."""
        paying = list(itertools.takewhile(lambda size: ratio(mode, size) > 1.0, sizes))
        return str(paying[-1]) if paying else "never"

    columns = ("", *map(str, sizes))
    speeds = [(mode, *(f"{speed(mode, size):.1f}" for size in sizes)) for mode in modes]
    others = [mode for mode in modes if mode != PLAIN]
    ratios = [
        (mode, *(f"{ratio(mode, size):.2f}" for size in sizes), pays_up_to(mode), _identical(found))
        for mode in others
        if (found := [item for item in results if item.mode == mode])
    ]
    steps = [
        (mode, *(f"{cells[mode, size][0].acceptance_length:.2f}" for size in sizes))
        for mode in others
    ]
    tables = [Table("Tokens per second of all sequences, by batch size", columns, speeds)]
    if others:
        wide = (*columns, "faster up to", "same as naive")
        tables.append(Table("Times plain decoding in batches of the same size", wide, ratios))
        tables.append(Table("Tokens a step and sequence", columns, steps))
    return tables


def _identical(results: Sequence["BatchResult"]) -> str:
    same, total = (
        sum(item.num_identical for item in results),
        sum(item.num_sequences for item in results),
    )
    return f"{same} of {total}"


def _tell(report: dict[str, Any], tables: Sequence[Table], options: argparse.Namespace) -> int:
    print_tables(tables)
    print(f"\n{caption(report)}")
    try:
        for path, text in (
            (options.json, dumps(report, indent=1) + "\n"),
            (options.markdown, f"{markdown(tables)}\n\n{caption(report)}\n"),
        ):
            if path is not None:
                write_text(path, text)
    except StorageError as error:
        return told(error)
    return 0


if __name__ == "__main__":
    run_command(main)
