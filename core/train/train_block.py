"""Trains a block drafter: `python -m core.train.train_block --data DIR --out DIR`."""

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

# Options that make another drafter or another training.
_IDENTITY = (
    "block_size", "num_layers", "width", "draft_vocab", "markov_rank", "markov_head", "anchors", "gamma",
    "distance_share", "rows", "row_length", "seed",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input."""
    options = options_from(arguments)
    return run_or_explain(lambda: _run(options), "--rows, --anchors or --block-size")


def options_from(arguments: list[str] | None) -> argparse.Namespace:
    """All options with their defaults, unchecked."""
    return _parser().parse_args(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = training_parser("core.train.train_block", __doc__)
    parser.add_argument("--block-size", type=int, default=8, help="tokens drafted in a pass")
    parser.add_argument("--num-layers", type=int, default=2)
    add_layer_options(parser)
    parser.add_argument(
        "--markov-rank", type=int, default=32, help="of the Markov head; 0 trains without one"
    )
    parser.add_argument("--markov-head", choices=("vanilla", "gated", "rnn"), default="vanilla")
    parser.add_argument("--anchors", type=int, default=256, help="blocks of a row")
    parser.add_argument(
        "--gamma", type=float, default=4.0, help="the k-th draft counts exp(-(k - 1) / gamma)"
    )
    parser.add_argument(
        "--distance-share",
        type=float,
        default=0.0,
        help="of the L1 distance to the target's probabilities, the rest being cross-entropy",
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    settings = loop_settings(options)
    with quick_imports():
        from core.distributed.ranks import join_ranks, leave_ranks
        from core.loading.fingerprint import model_key
        from core.train.block_task import BlockTask
        from core.train.distillation import load_data
        from core.train.loop import train
    rank = join_ranks(options.device)
    target = load_teacher(options)
    shape = own_forward(target).shape
    layers = feature_layers(options.feature_layers, shape.num_layers)
    _check(options, shape.vocab_size)
    data = load_data(options.data, target, options.row_length, options.data_share)
    task = BlockTask(target, data, layers, options, rank)
    if rank.is_first:
        print(f"weights of {task.num_bytes / 1e6:.1f} MB", flush=True)
    identity: dict[str, Any] = {
        "target": model_key(target),
        "feature_layers": list(layers),
        **{name: getattr(options, name) for name in _IDENTITY},
    }
    train(task, settings, options.out, identity, rank)
    leave_ranks(rank)


def _check(options: argparse.Namespace, vocab_size: int) -> None:
    for name, low, high in (
        ("block_size", 2, options.row_length // 2),
        ("num_layers", 1, 64),
        ("draft_vocab", 1, vocab_size),
        ("markov_rank", 0, 4096),
        ("anchors", 1, options.row_length),
        ("gamma", 0.1, 1e6),
        ("distance_share", 0.0, 1.0),
    ):
        if not low <= getattr(options, name) <= high:
            raise InvalidSettingError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}; give {low} to {high}."
            )


if __name__ == "__main__":
    run_command(main)
