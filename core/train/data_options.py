"""Options of `core.train.generate_data`, and their limits."""

import argparse
from pathlib import Path

from core.command_line import OneSentenceParser
from core.errors import InvalidSettingError
from core.train.teacher import add_teacher_options


def data_parser(description: str | None) -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = OneSentenceParser(prog="core.train.generate_data", description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder for shards and manifest")
    add_teacher_options(parser, "the model that writes")
    parser.add_argument("--tokens", type=int, default=40_000_000, help="tokens to sample")
    parser.add_argument("--slots", type=int, default=2048, help="conversations at once")
    parser.add_argument("--columns", type=int, default=1024, help="longest conversation, tokens")
    parser.add_argument("--most-user-tokens", type=int, default=160)
    parser.add_argument("--most-answer-tokens", type=int, default=512)
    parser.add_argument("--turns", type=int, default=2, help="most answers of a conversation")
    parser.add_argument(
        "--temperatures", default="0,0,0.7,1", help="of the answers, in turn; commas"
    )
    parser.add_argument(
        "--prompts", type=Path, action="append", default=[], help="prompt files, .jsonl or lines"
    )
    parser.add_argument(
        "--exclude", type=Path, action="append", default=[], help="questions never to train on"
    )
    parser.add_argument("--held-out", type=float, default=0.02, help="share of the prompts")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after; 0 never")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def check_data_options(options: argparse.Namespace) -> None:
    """Checks the values and reads the temperatures; raises InvalidSettingError."""
    for name in ("tokens", "slots", "most_user_tokens", "most_answer_tokens", "turns"):
        if getattr(options, name) < 1:
            raise InvalidSettingError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}; give at least 1."
            )
    if options.columns < 64:
        raise InvalidSettingError(f"--columns is {options.columns}; give at least 64.")
    try:
        options.temperatures = [float(word) for word in options.temperatures.split(",")]
    except ValueError:
        options.temperatures = []
    if not options.temperatures or not all(0 <= t <= 10 for t in options.temperatures):
        raise InvalidSettingError("--temperatures takes numbers from 0 to 10 with commas between.")
    if not 0 <= options.held_out < 1:
        raise InvalidSettingError(f"--held-out is {options.held_out}; give 0 or more, below 1.")
