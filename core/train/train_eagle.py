"""Trains an EAGLE-3 head: `python -m core.train.train_eagle --data DIR --out DIR`."""

import argparse
from typing import Any

from core.errors import InvalidSettingError
from core.runtime.console import run_command
from core.runtime.imports import quick_imports
from core.train.loop_options import loop_settings, run_or_explain, training_parser
from core.train.teacher import (
    add_layer_options,
    feature_layers,
    load_teacher,
    own_forward,
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input."""
    options = _parser().parse_args(arguments)
    return run_or_explain(lambda: _run(options), "--rows, --row-length or --depth")


def _parser() -> argparse.ArgumentParser:
    parser = training_parser("core.train.train_eagle", __doc__)
    parser.add_argument("--depth", type=int, default=5, help="steps of training-time test")
    add_layer_options(parser)
    return parser


def _run(options: argparse.Namespace) -> None:
    settings = loop_settings(options)
    with quick_imports():
        from core.distributed.ranks import join_ranks, leave_ranks
        from core.loading.fingerprint import model_key
        from core.train.distillation import load_data
        from core.train.eagle_task import EagleTask
        from core.train.loop import train
    rank = join_ranks(options.device)
    target = load_teacher(options)
    shape = own_forward(target).shape
    layers = feature_layers(options.feature_layers, shape.num_layers)
    vocab_size = shape.vocab_size
    if not 1 <= options.draft_vocab <= vocab_size:
        raise InvalidSettingError(
            f"--draft-vocab is {options.draft_vocab}; give 1 to {vocab_size}."
        )
    if not 1 <= options.depth < options.row_length // 2:
        raise InvalidSettingError(
            f"--depth is {options.depth}; give at least 1 and less than half of --row-length."
        )
    data = load_data(options.data, target, options.row_length, options.data_share)
    task = EagleTask(target, data, layers, options, rank)
    identity: dict[str, Any] = {
        "target": model_key(target),
        "feature_layers": list(layers),
        "depth": options.depth,
        "draft_vocab": options.draft_vocab,
        "width": options.width,
        "rows": options.rows,
        "row_length": options.row_length,
        "seed": options.seed,
    }
    train(task, settings, options.out, identity, rank)
    leave_ranks(rank)


if __name__ == "__main__":
    run_command(main)
