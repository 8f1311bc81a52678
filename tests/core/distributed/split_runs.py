"""What every process of a split target does in `test_split`: the first one runs, the others obey.

python -m torch.distributed.run ... -m tests.core.distributed.split_runs REQUEST.json ANSWER.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from core.config import RunConfig
from core.distributed.role import follow, is_follower
from core.engine import Engine
from core.errors import SpecDecodesError
from core.loading.loading import load_target
from core.trace.file import Trace


def answers(request: dict[str, Any]) -> dict[str, Any]:
    """Token ids of every asked-for run, alone and side by side."""
    configs = [RunConfig.from_dict(values) for values in request["configs"]]
    engine = Engine(load_target(configs[0]))
    prompt = engine.raw_prompt(request["prompt"])
    alone = [Trace(list(engine.run(prompt, config))) for config in configs]
    together = [Trace() for _ in configs]
    for index, event in engine.run_batch([(prompt, config) for config in configs], 2):
        together[index].events.append(event)
    return {
        "refused": engine.unavailable_reason("share-sd"),
        "forward": engine.forward_name,
        "alone": [trace.token_ids for trace in alone],
        "together": [trace.token_ids for trace in together],
        "num_accepted": [trace.stats.num_accepted for trace in alone],
        "ends": [trace.events[-1].kind for trace in [*alone, *together]],
    }


def main(request: str, answer: str) -> int:
    """Returns an exit status, 2 for bad input as every command."""
    if is_follower():
        return follow("cpu")
    try:
        found = answers(json.loads(Path(request).read_text(encoding="utf-8")))
    except SpecDecodesError as error:
        found = {"error": str(error)}
    Path(answer).write_text(json.dumps(found), encoding="utf-8")
    return 2 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
