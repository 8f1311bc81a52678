"""Options that the benchmark commands share, and configurations for several modes at once."""

import argparse
import dataclasses
from argparse import Namespace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core.benchmark.questions import OWN_QUESTIONS, Question, load_questions, pick_questions
from core.command_line import config_from_options, words
from core.config import DRAFTER_SETTINGS, MODES, RunConfig
from core.errors import InvalidSettingError

# What a shell reports for a program that an interrupt ended.
INTERRUPTED = 130


def add_question_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `questions_from_options` reads."""
    parser.add_argument(
        "--questions",
        type=Path,
        default=OWN_QUESTIONS,
        metavar="F.jsonl",
        help="questions, one JSON object a line (default: the project's own 80)",
    )
    parser.add_argument(
        "--categories", type=words, default=(), help="only these categories; commas"
    )
    parser.add_argument("--limit", type=int, help="at most so many questions, over all categories")


def questions_from_options(options: Namespace) -> list[Question]:
    """The chosen questions; raises InvalidSettingError."""
    return pick_questions(load_questions(options.questions), options.categories, options.limit)


def configs_of_modes(options: Namespace, modes: tuple[str, ...]) -> list[RunConfig]:
    """A configuration for each mode, in which it has those drafter settings that it knows.

    Raises InvalidSettingError for an unknown mode, and for a setting that none of them knows.
    """
    for mode in modes:
        if mode not in MODES:
            raise InvalidSettingError(f"mode is {mode!r}; give some of {', '.join(MODES)}.")
    known = {mode: _setting_names(mode) for mode in MODES}
    every = set().union(*known.values())
    given = {name: value for name, value in vars(options).items() if value is not None}
    for name in sorted(every & given.keys()):
        if not any(name in known[mode] for mode in modes):
            flag = "--" + name.replace("_", "-")
            raise InvalidSettingError(
                f"{flag} is a setting of none of the modes {', '.join(modes)}; leave it out."
            )
    return [
        config_from_options(
            Namespace(**{name: given[name] for name in given.keys() - (every - known[mode])}), mode
        )
        for mode in modes
    ]


def _setting_names(mode: str) -> set[str]:
    settings_class = DRAFTER_SETTINGS[mode]
    return {item.name for item in dataclasses.fields(settings_class)} if settings_class else set()


def answers_bar() -> Progress:
    """A bar on stderr with the answers done and the time left; silent without a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
