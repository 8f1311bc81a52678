"""Options that all trainings share, and how the commands of a training tell what goes wrong."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.command_line import OneSentenceParser, told
from core.errors import InvalidSettingError, SpecDecodesError
from core.runtime.console import INTERRUPTED
from core.train.teacher import add_teacher_options


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast; `minutes` ends the schedule early where it comes before `steps`."""

    steps: int
    minutes: float
    learning_rate: float
    warmup_share: float
    weight_decay: float
    evaluate_every: int
    seed: int


def run_or_explain(run: Callable[[], None], smaller: str) -> int:
    """Runs a command; what goes wrong becomes one sentence and an exit status.

    `smaller` names the options to lower where the GPU's memory does not suffice.
    """
    try:
        run()
    except SpecDecodesError as error:
        return told(error)
    except BrokenPipeError:  # the console's matter
        raise
    except OSError as error:
        return _told(
            f"{error.filename or 'the disk'} cannot be written ({error.strerror or error}); make room "
            "and give the same command again, which goes on from what is there.",
            1,
        )
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which need not be imported yet
            raise
        return _told(f"the GPU's memory is too small; lower {smaller}.", 2)
    except KeyboardInterrupt:
        return _told("stopped; the same command goes on from what is there", INTERRUPTED)
    return 0


def _told(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


def training_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """With the options that all trainings share."""
    parser = OneSentenceParser(prog=prog, description=description)
    add_teacher_options(parser, "the model to draft for")
    parser.add_argument("--data", type=Path, required=True, help="folder of generate_data")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and curves")
    parser.add_argument("--steps", type=int, default=10_000, help="optimizer steps")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="end the schedule after; 0 never"
    )
    parser.add_argument(
        "--rows", type=int, default=32, help="rows of a step, all processes together"
    )
    parser.add_argument("--row-length", type=int, default=1024, help="tokens of a row")
    parser.add_argument("--data-share", type=float, default=1.0, help="share of the data to use")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--warmup-share", type=float, default=0.03, help="of the schedule")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--evaluate-every", type=int, default=500, help="steps between evaluations")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def loop_settings(options: argparse.Namespace) -> LoopSettings:
    """The checked settings; raises InvalidSettingError."""
    for name, low in (("steps", 1), ("rows", 1), ("row_length", 16), ("evaluate_every", 1)):
        if getattr(options, name) < low:
            raise InvalidSettingError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}; give at least {low}."
            )
    for name, least, most in (
        ("learning_rate", 1e-8, 1.0), ("warmup_share", 0.0, 0.9), ("data_share", 1e-6, 1.0)
    ):  # fmt: skip
        if not least <= getattr(options, name) <= most:
            raise InvalidSettingError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}; give {least} to {most}."
            )
    return LoopSettings(
        steps=options.steps,
        minutes=options.minutes,
        learning_rate=options.learning_rate,
        warmup_share=options.warmup_share,
        weight_decay=options.weight_decay,
        evaluate_every=options.evaluate_every,
        seed=options.seed,
    )
