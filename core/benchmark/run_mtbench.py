"""Answers questions of several turns: `python -m core.benchmark.run_mtbench --mode ngram`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from core.benchmark.answer_file import AnswerFile
from core.benchmark.chat import SaveAnswer, answer_question
from core.benchmark.comparison import MakePrompt, warm_up
from core.benchmark.measurement import Answer
from core.benchmark.options import (
    INTERRUPTED,
    add_question_options,
    answers_bar,
    questions_from_options,
)
from core.benchmark.questions import Question
from core.benchmark.runners import EngineRunner, Runner
from core.benchmark.summary import summarize
from core.benchmark.tables import print_tables, tables_of
from core.command_line import (
    OneSentenceParser,
    add_run_options,
    config_from_options,
    told_if_not_written,
)
from core.config import RunConfig
from core.engine import Engine
from core.errors import InvalidSettingError, SpecDecodesError
from core.models.loading import load_target
from core.models.progress_bar import ProgressBar
from core.trace import save_trace


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input and 1 where an answer failed."""
    options = _parser().parse_args(arguments)
    try:
        config = config_from_options(options)
        questions = questions_from_options(options)
        model_id = _model_id(config)
        save = _trace_saver(options.log_dir, model_id)
        with ProgressBar(config.target) as bar:
            target = load_target(config, bar.show)
            dtype = str(target.dtype).removeprefix("torch.")
            file = AnswerFile(
                options.out_dir / f"{model_id}.jsonl",
                model_id,
                {**config.to_dict(), "dtype": dtype},
                resume=options.resume,
            )
            engine = Engine(target, progress=bar.show)
            runner = EngineRunner(engine, config)
            waiting = [item for item in questions if item.question_id not in file.answered]
            if waiting:
                first = [{"role": "user", "content": waiting[0].turns[0]}]
                warm_up([runner], engine.chat_prompt(first))
        status = _answer_all(runner, engine.chat_prompt, waiting, file, save)
    except SpecDecodesError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped before the first question", file=sys.stderr)
        return INTERRUPTED
    measurements = file.measurements_of([question.question_id for question in questions])
    num_answered = sum(question.question_id in file.answered for question in questions)
    print(f"{num_answered} of {len(questions)} questions answered in {file.path}")
    print_tables(tables_of(summarize(measurements)))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = OneSentenceParser(prog="core.benchmark.run_mtbench", description=__doc__)
    parser.add_argument("-llm", dest="target", metavar="TARGET", help="the same as --target")
    parser.add_argument("-ssm", dest="draft", metavar="DRAFT", help="the same as --draft")
    add_question_options(parser)
    parser.add_argument(
        "--out-dir", type=Path, default=Path("answers"), help="folder of the answer files"
    )
    parser.add_argument("--log-dir", type=Path, help="folder for a trace of every answer")
    parser.add_argument(
        "--resume", action="store_true", help="go on with an answer file, without doubles"
    )
    add_run_options(parser)
    return parser


def _model_id(config: RunConfig) -> str:
    """The name that FastChat's judge shows; it is also the file's."""
    return f"{Path(config.target).name}-{config.mode}"


def _trace_saver(log_dir: Path | None, model_id: str) -> SaveAnswer:
    if log_dir is None:
        return lambda question, turn, answer: None
    folder = log_dir / model_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSettingError(
            f"{folder} cannot be made ({error.strerror}); give another --log-dir."
        ) from error

    def save(question: Question, turn: int, answer: Answer) -> None:
        if answer.trace is not None:
            path = folder / f"{question.question_id}-{turn}.jsonl"
            with told_if_not_written(path):
                save_trace(answer.trace, path)

    return save


def _answer_all(
    runner: Runner,
    make_prompt: MakePrompt,
    questions: Sequence[Question],
    file: AnswerFile,
    save: SaveAnswer,
) -> int:
    """Answers and writes question after question; returns the exit status.

    A question that fails or is interrupted is not written, so that --resume asks it again.
    """
    status = 0
    with answers_bar() as bar:
        task = bar.add_task(runner.label, total=len(questions))
        try:
            for question in questions:
                answers = answer_question(runner, make_prompt, question, save)
                failed = [item for item in answers.measurements if item.error is not None]
                for item in failed:
                    place = f"question {item.question_id}, turn {item.turn}"
                    print(f"failed at {place}: {item.error}", file=sys.stderr)
                    status = 1
                if not failed:
                    file.append(answers)
                bar.advance(task)
        except KeyboardInterrupt:
            print("stopped; --resume goes on from here", file=sys.stderr)
            return INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main())
