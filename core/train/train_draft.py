"""Trains a small draft model: `python -m core.train.train_draft --data DIR --out DIR`."""

import argparse
from typing import Any

from core.errors import InvalidSettingError
from core.runtime.console import run_command
from core.runtime.imports import quick_imports
from core.train.loop_options import loop_settings, run_or_explain, training_parser
from core.train.teacher import load_teacher


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input."""
    options = _parser().parse_args(arguments)
    return run_or_explain(lambda: _run(options), "--rows or --row-length")


def _parser() -> argparse.ArgumentParser:
    parser = training_parser("core.train.train_draft", __doc__)
    parser.add_argument("--hidden-size", type=int, default=160)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--num-layers", type=int, default=6)
    return parser


def _run(options: argparse.Namespace) -> None:
    settings = loop_settings(options)
    for name in ("hidden_size", "head_dim", "num_layers"):
        if getattr(options, name) < 1:
            raise InvalidSettingError(f"--{name.replace('_', '-')} must be at least 1.")
    if options.hidden_size % options.head_dim or options.head_dim % 2:
        raise InvalidSettingError(
            f"--hidden-size {options.hidden_size} is no multiple of an even --head-dim; give one "
            "that is."
        )
    with quick_imports():
        from core.distributed.ranks import join_ranks, leave_ranks
        from core.loading.fingerprint import model_key
        from core.train.distillation import load_data
        from core.train.draft_task import DraftTask
        from core.train.loop import train
    rank = join_ranks(options.device)
    target = load_teacher(options)
    data = load_data(options.data, target, options.row_length, options.data_share)
    task = DraftTask(target, data, options, rank)
    identity: dict[str, Any] = {
        "target": model_key(target),
        "hidden_size": options.hidden_size,
        "head_dim": options.head_dim,
        "num_layers": options.num_layers,
        "rows": options.rows,
        "row_length": options.row_length,
        "seed": options.seed,
    }
    train(task, settings, options.out, identity, rank)
    leave_ranks(rank)


if __name__ == "__main__":
    run_command(main)
