"""What a forward costs by its rows: `python -m core.benchmark.row_costs --help`.

Speculation pays by T(n) / T(1), what n rows take over one. It is the curve that sizes of trees are
chosen by, measured anew for every target under every setting.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from core.command_line import OneSentenceParser, told, words
from core.config import DEFAULT_TARGET, RunConfig
from core.errors import InvalidSettingError, SpecDecodesError
from core.runtime.console import run_command
from core.runtime.imports import quick_imports
from core.runtime.strict_json import dumps


class RowCosts(NamedTuple):
    """One target under one setting."""

    target: str
    weights: str
    dtype: str
    kernels: list[str]
    num_bytes: int
    """Of the weights."""
    forward_ms: dict[str, float]
    """The fastest of some forwards, by rows."""
    is_steady: bool
    """Whether the machine was quiet."""


def row_costs(config: RunConfig, context: int) -> RowCosts:
    """The curve of a target behind `context` tokens; raises as `load_target` does."""
    with quick_imports():
        from core.backends.cost_curve import ROWS, measure
        from core.backends.torch.forward import TorchForward
        from core.loading.forward import runner_of
        from core.loading.loading import load_target

    model = load_target(config)
    if context + 2 * ROWS[-1] > model.context_limit:
        raise InvalidSettingError(
            f"the context is {context} tokens and the target takes {model.context_limit}; give fewer."
        )
    runner = runner_of(model)
    found = measure(runner, context)
    forward = runner.forward
    return RowCosts(
        target=config.target,
        weights=model.weights,
        dtype=model.identity.dtype,
        kernels=forward.kernel_names if isinstance(forward, TorchForward) else [forward.name],
        num_bytes=model.identity.num_bytes,
        forward_ms=found.curve.to_ms(),
        is_steady=found.is_steady,
    )


def _table(costs: Sequence[RowCosts]) -> str:
    sizes = max((list(map(int, cost.forward_ms)) for cost in costs), key=len)
    head = "".join(f"{rows:>8}" for rows in sizes)
    lines = ["forward, ms".ljust(46) + head + "  T(16)/T(1)   GB/s"]
    for cost in costs:
        name = f"{cost.target.rsplit('/', 1)[-1]}, weights {cost.weights}, {cost.dtype}"
        times = {int(rows): ms for rows, ms in cost.forward_ms.items()}
        ratio = f"{times[16] / times[1]:.2f}" if 16 in times else "-"
        line = name.ljust(46) + "".join(
            f"{times[n]:8.2f}" if n in times else " " * 8 for n in sizes
        )
        busy = "" if cost.is_steady else "   on a busy machine"
        lines.append(f"{line}{ratio:>12}{cost.num_bytes / times[1] / 1e6:7.1f}{busy}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Prints a table, and with --json a line for each setting; returns an exit status."""
    parser = OneSentenceParser(prog="core.benchmark.row_costs", description=__doc__)
    parser.add_argument(
        "--targets",
        type=words,
        default=(DEFAULT_TARGET,),
        help="models, one after the other; commas",
    )
    parser.add_argument(
        "--weights", type=words, default=(None,), help="as of a run, one after the other; commas"
    )
    parser.add_argument(
        "--dtypes", type=words, default=(None,), help="as of a run, one after the other; commas"
    )
    parser.add_argument("--context", type=int, default=256, help="tokens in front of the rows")
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON as well")
    options = parser.parse_args(arguments)
    try:
        if options.context < 1:
            raise InvalidSettingError(f"context is {options.context}; give at least 1.")
        settings: list[dict[str, Any]] = [
            {"target": target, "weights": weights, "dtype": dtype}
            for target in options.targets
            for weights in options.weights
            for dtype in options.dtypes
        ]
        configs = [RunConfig(**each) for each in settings]
        costs = [row_costs(config, options.context) for config in configs]
    except SpecDecodesError as error:
        return told(error)
    print(_table(costs))
    if options.json:
        for cost in costs:
            print(dumps(cost._asdict()))
    return 0


if __name__ == "__main__":
    run_command(main)
