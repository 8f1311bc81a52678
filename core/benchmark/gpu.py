"""Tables of the GPU: each measured in one run, on the default model in the sizes of a larger one.

python -m core.benchmark.widen --shape 7b --out DIR
python -m core.benchmark.gpu --models DIR --questions FILE --tables plain,modes,share-sd --json OUT
python -m core.benchmark.gpu --tables kernels,families
"""

import argparse
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.benchmark.question_sets import OWN, questions_file
from core.command_line import (
    OneSentenceParser,
    check_writable,
    told,
    told_if_not_written,
    words,
)
from core.config import DTYPES
from core.errors import InvalidSettingError, SpecDecodesError
from core.runtime.console import run_command
from core.runtime.imports import quick_imports
from core.runtime.strict_json import dumps

_TABLES = ("costs", "plain", "modes", "share-sd", "tracing", "transformers", "offload")
# These need no models.
_RANDOM_TABLES = ("kernels", "families")
# It needs several GPUs.
_PARALLEL_TABLE = "parallel"
_BUDGET = "8GiB"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns an exit status."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        check_writable(options.json)
        with quick_imports():
            import torch
        if not torch.cuda.is_available():
            raise InvalidSettingError("there is no CUDA GPU; run this on a machine with one.")
        _measure(options)
    except SpecDecodesError as error:
        return told(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneSentenceParser(prog="core.benchmark.gpu", description=__doc__)
    parser.add_argument(
        "--models",
        type=Path,
        help=f"folder that widen wrote; not for the tables {', '.join(_RANDOM_TABLES)}",
    )
    parser.add_argument("--questions", default=OWN, help="a set's name, or a file of JSON lines")
    parser.add_argument("--limit", type=int, default=8, help="number of questions")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="bfloat16", help="number format of the weights"
    )
    parser.add_argument("--gpu-memory", help=f"budget of the table offload (default: {_BUDGET})")
    parser.add_argument(
        "--tables",
        type=words,
        default=_TABLES,
        help=f"some of {', '.join(_TABLES)} (all of these by default), "
        f"{_PARALLEL_TABLE} (several GPUs), {', '.join(_RANDOM_TABLES)}; commas",
    )
    parser.add_argument("--json", type=Path, help="file for all rows")
    return parser


def _check(options: argparse.Namespace) -> None:
    """Raises InvalidSettingError."""
    for name in options.tables:
        if name not in (*_TABLES, _PARALLEL_TABLE, *_RANDOM_TABLES):
            raise InvalidSettingError(
                f"there is no table {name!r}; give some of "
                f"{', '.join((*_TABLES, _PARALLEL_TABLE, *_RANDOM_TABLES))}."
            )
        if name not in _RANDOM_TABLES and options.models is None:
            raise InvalidSettingError(
                f"the table {name} needs --models; give the folder that core.benchmark.widen wrote."
            )
    if options.gpu_memory is not None and "offload" not in options.tables:
        raise InvalidSettingError(
            "--gpu-memory is no setting without the table offload; give that too, or leave it out."
        )


def _measure(options: argparse.Namespace) -> None:
    """Prints the rows of every table as it is done; raises SpecDecodesError."""
    import torch

    from core.benchmark.family_table import family_rows
    from core.benchmark.gpu_tables import NUM_TOKENS, GpuTables, Rows
    from core.benchmark.kernel_table import kernel_rows
    from core.runtime.environment import describe_device, package_versions

    results: dict[str, Any] = {
        "device": describe_device(torch.device("cuda")),
        "versions": package_versions(),
        "date": datetime.date.today().isoformat(),
        "dtype": options.dtype,
    }
    makers: dict[str, Callable[[], Rows]] = {"kernels": kernel_rows, "families": family_rows}
    if options.models is not None:
        bench = GpuTables(
            options.models, questions_file(options.questions), options.limit, options.dtype
        )
        makers |= {
            "plain": bench.table_plain,
            "transformers": bench.table_transformers,
            "modes": bench.table_modes,
            "share-sd": bench.table_share_sd,
            "offload": lambda: bench.table_offload(options.gpu_memory or _BUDGET),
            "costs": bench.table_costs,
            "tracing": bench.table_tracing,
            _PARALLEL_TABLE: bench.table_parallel,
        }
        results["models"] = options.models.name
        results["questions"] = (
            f"{options.limit} of {Path(options.questions).name}, {NUM_TOKENS} tokens"
        )
    for name in options.tables:
        results[name] = makers[name]()
        for row in results[name]:
            print(f"{name}: {dumps(row)}", flush=True)
        if options.json is not None:
            with told_if_not_written(options.json):
                options.json.write_text(dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
