"""Tables of the GPU: each measured in one run, on the default model in the sizes of a larger one.

python -m core.benchmark.widen --shape 7b --out DIR
python -m core.benchmark.gpu --models DIR --questions FILE --tables plain,modes,share-sd --json OUT
"""

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from core.benchmark.gpu_tables import NUM_TOKENS, GpuTables, Rows
from core.benchmark.question_sets import OWN, questions_file
from core.errors import SpecDecodesError
from core.runtime.environment import describe_device, package_versions


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns an exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.benchmark.gpu", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder that widen wrote")
    parser.add_argument("--questions", default=OWN, help="a set's name, or a file of JSON lines")
    parser.add_argument("--limit", type=int, default=8, help="number of questions")
    parser.add_argument("--dtype", default="bfloat16", help="number format of the weights")
    parser.add_argument("--gpu-memory", default="8GiB", help="budget of the table offload")
    parser.add_argument(
        "--tables", default="costs,plain,modes,share-sd,tracing,transformers,offload"
    )
    parser.add_argument("--json", type=Path, help="file for all rows")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("error: there is no CUDA GPU; run this on a machine with one.", file=sys.stderr)
        return 2
    try:
        bench = GpuTables(
            options.models, questions_file(options.questions), options.limit, options.dtype
        )
        makers: dict[str, Callable[[], Rows]] = {
            "plain": bench.table_plain,
            "transformers": bench.table_transformers,
            "modes": bench.table_modes,
            "share-sd": bench.table_share_sd,
            "offload": lambda: bench.table_offload(options.gpu_memory),
            "costs": bench.table_costs,
            "tracing": bench.table_tracing,
        }
        results: dict[str, Any] = {
            "device": describe_device(torch.device("cuda")),
            "versions": package_versions(),
            "date": datetime.date.today().isoformat(),
            "models": options.models.name,
            "dtype": options.dtype,
            "questions": f"{options.limit} of {Path(options.questions).name}, {NUM_TOKENS} tokens",
        }
        for name in options.tables.split(","):
            results[name] = makers[name]()
            for row in results[name]:
                print(f"{name}: {json.dumps(row)}", flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except SpecDecodesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
