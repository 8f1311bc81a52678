"""Answers prompts with the engine of a script beside it; run by any Python that has it.

Nothing here needs this project. A script loads its engine by the function `load`, and says by
`describe` which version of it that is.

Talks JSON lines. The first line in is the settings, and ready or an error comes back; every further
one is a prompt for one of the ways in which the engine was loaded.
"""

import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

# Takes tokens as they come; true once there are enough.
Emit = Callable[[list[int]], bool]
# Answers a prompt greedily, handing out its tokens.
Answer = Callable[[list[int], Emit], None]


def main() -> None:
    """Answers until the input ends."""
    replies = _own_output()
    settings = json.loads(sys.stdin.readline())
    try:
        script = runpy.run_path(str(Path(__file__).parent / settings["script"]))
        ways: list[Answer] = [script["load"]({**settings, **way}) for way in settings["ways"]]
        about: str = script["describe"]()
    except Exception as error:  # told to the other side, whatever it is
        _reply(replies, {"error": f"{type(error).__name__}: {error}"})
        return
    _reply(replies, {"about": about})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = _timed(ways[asked["way"]], asked["prompt"], settings)
        except Exception as error:  # another program's failure is a row of the comparison
            answer = {"error": f"{type(error).__name__}: {error}"}
        _reply(replies, answer)


def _own_output() -> TextIO:
    """What engines print themselves goes to the errors from now on."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _reply(replies: TextIO, values: dict[str, Any]) -> None:
    print(json.dumps(values, allow_nan=False), file=replies, flush=True)


def _timed(answer: Answer, prompt: list[int], settings: dict[str, Any]) -> dict[str, Any]:
    """Token ids and the moment of each, in seconds since the request."""
    token_ids: list[int] = []
    times_s: list[float] = []
    ends, most = set(settings["end_token_ids"]), settings["max_new_tokens"]
    start_s = time.perf_counter()

    def emit(fresh: list[int]) -> bool:
        now_s = time.perf_counter() - start_s
        for token_id in fresh:
            if len(token_ids) == most or (token_ids and token_ids[-1] in ends):
                break
            token_ids.append(token_id)
            times_s.append(now_s)
        return len(token_ids) == most or (bool(token_ids) and token_ids[-1] in ends)

    answer(prompt, emit)
    return {"token_ids": token_ids, "times_s": times_s}


if __name__ == "__main__":
    main()
