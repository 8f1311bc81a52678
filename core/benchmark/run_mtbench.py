"""Answers questions of several turns: `python -m core.benchmark.run_mtbench --mode ngram`."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.acceptance.registry import lossy_rule
from core.benchmark.answer_file import AnswerFile
from core.benchmark.executor import Executor, open_executor
from core.benchmark.options import (
    add_cluster_options,
    add_question_options,
    cluster_from_options,
    questions_from_options,
)
from core.benchmark.questions import Question
from core.benchmark.summary import summarize
from core.benchmark.tables import print_tables, tables_of
from core.benchmark.task_progress import TaskProgress
from core.benchmark.trace_folder import TraceFolder
from core.command_line import (
    OneSentenceParser,
    add_run_options,
    config_from_options,
    start_logging,
    told,
)
from core.config import RunConfig
from core.distributed.role import follow, is_follower
from core.drafters.memory_file import asked_memory, keep_memory
from core.errors import SpecDecodesError
from core.models.progress_bar import ProgressBar
from core.modes.settings import remembers
from core.runtime.console import INTERRUPTED, run_command
from core.runtime.imports import quick_imports

if TYPE_CHECKING:
    from core.benchmark.chat import Chat


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input and 1 where an answer failed."""
    options = _parser().parse_args(arguments)
    if is_follower():
        return follow(options.device)
    try:
        start_logging()
        config = config_from_options(options)
        questions = questions_from_options(options)
        model_id = _model_id(config)
        folder = TraceFolder(options.log_dir / model_id) if options.log_dir else None
        cluster = cluster_from_options(options, remembers=remembers(config.drafter))
        memory = asked_memory(options.memory)
        with quick_imports():
            from core.benchmark.chat import ChatPlan, ChatWorker
        plan = ChatPlan(config, options.repeats, memory)
        with open_executor(partial(ChatWorker, plan), cluster) as executor:
            with ProgressBar(config.target) as bar:
                executor.start(bar.show)
            description = executor.descriptions[0]
            file = AnswerFile(
                options.out_dir / f"{model_id}.jsonl",
                model_id,
                {**config.to_dict(), "dtype": description.dtype, "repeats": options.repeats},
                resume=options.resume,
            )
            waiting = [item for item in questions if item.question_id not in file.answered]
            status = _answer_all(executor, waiting, file, folder)
        keep_memory(memory, options.memory)
    except SpecDecodesError as error:
        return told(error)
    except KeyboardInterrupt:
        print("stopped before the first question", file=sys.stderr)
        return INTERRUPTED
    measurements = file.measurements_of([question.question_id for question in questions])
    num_answered = sum(question.question_id in file.answered for question in questions)
    print(f"{num_answered} of {len(questions)} questions answered in {file.path}")
    print_tables(tables_of(summarize(measurements), description.energy))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = OneSentenceParser(prog="core.benchmark.run_mtbench", description=__doc__)
    parser.add_argument("-llm", dest="target", metavar="TARGET", help="the same as --target")
    parser.add_argument("-ssm", dest="draft", metavar="DRAFT", help="the same as --draft")
    add_question_options(parser)
    parser.add_argument(
        "--out-dir", type=Path, default=Path("answers"), help="folder of the answer files"
    )
    parser.add_argument(
        "--log-dir",
        type=Path,
        help="folder for a trace of every answer and a CSV of every question",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with an answer file, without doubles"
    )
    add_cluster_options(parser)
    add_run_options(parser)
    return parser


def _model_id(config: RunConfig) -> str:
    """The name that FastChat's judge shows; it is also the file's."""
    rule = lossy_rule(config.to_dict())
    return f"{Path(config.target).name}-{config.mode}" + (f"-lossy-{rule}" if rule else "")


def _answer_all(
    executor: Executor[Question, "Chat"],
    questions: Sequence[Question],
    file: AnswerFile,
    folder: TraceFolder | None,
) -> int:
    """Has the questions answered and writes each as it comes; returns the exit status.

    A question that fails or is interrupted is not written, so that --resume asks it again.
    """
    status = 0
    with TaskProgress(file.path.stem, len(questions)) as progress:
        try:
            for question, chat in executor.work(questions):
                place = f"question {question.question_id} ({question.category})"
                failures = _failures(chat)
                for failure in failures:
                    print(f"failed at {place}, {failure}", file=sys.stderr)
                    status = 1
                if chat is not None and folder is not None:
                    folder.save(question.question_id, chat.traces)
                if chat is not None and not failures:
                    file.append(chat.answers)
                progress.advance(place)
        except KeyboardInterrupt:
            print("stopped; --resume goes on from here", file=sys.stderr)
            return INTERRUPTED
    return status


def _failures(chat: "Chat | None") -> list[str]:
    if chat is None:
        return ["its workers ended"]
    return [
        f"turn {item.turn}, repeat {item.repeat}: {item.error}"
        for item in chat.answers.measurements
        if item.error is not None
    ]


if __name__ == "__main__":
    run_command(main)
