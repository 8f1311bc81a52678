"""Answers prompts with llama-cpp-python; run by the Python that has it, talks JSON lines.

Needs nothing of this project: that Python need not have its packages. The first line in is the
settings, every further one a prompt; a line goes out for each.
"""

import json
import sys
import time
from typing import Any

# The value that transformers' own examples and ours use.
LOOKUP_TOKENS = 10


def _load(settings: dict[str, Any]) -> Any:
    from llama_cpp import Llama
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    threads = settings["num_threads"]
    is_lookup = settings["prompt_lookup"]
    return Llama(
        settings["gguf"],
        n_ctx=settings["context"],
        n_threads=threads,
        n_threads_batch=threads,
        draft_model=LlamaPromptLookupDecoding(num_pred_tokens=LOOKUP_TOKENS) if is_lookup else None,
        logits_all=is_lookup,
        verbose=False,
    )


def _answer(model: Any, settings: dict[str, Any], token_ids: list[int]) -> dict[str, Any]:
    """Token ids and the moment of each, in seconds since the request; greedy."""
    emitted: list[int] = []
    times_s: list[float] = []
    model.reset()
    start_s = time.perf_counter()
    for token_id in model.generate(token_ids, temp=0.0, top_k=1, repeat_penalty=1.0):
        times_s.append(time.perf_counter() - start_s)
        emitted.append(int(token_id))
        if token_id in settings["end_token_ids"] or len(emitted) >= settings["max_new_tokens"]:
            break
    return {"token_ids": emitted, "times_s": times_s}


def main() -> None:
    """Answers until the input ends."""
    settings = json.loads(sys.stdin.readline())
    try:
        model = _load(settings)
    except Exception as error:  # told to the other side, whatever it is
        print(
            json.dumps({"error": f"{type(error).__name__}: {error}"}, allow_nan=False), flush=True
        )
        return
    print(json.dumps({"ready": True}, allow_nan=False), flush=True)
    for line in sys.stdin:
        try:
            answer = _answer(model, settings, json.loads(line))
        except Exception as error:  # another program's failure is a row of the comparison
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, allow_nan=False), flush=True)


if __name__ == "__main__":
    main()
