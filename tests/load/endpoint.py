"""What the interface for programs costs over the engine itself: `python -m tests.load.endpoint`.

The same questions are answered in turn by `Engine.run` in this process and, in a stream, by a server in
another one whose engine has as many threads; while one of them answers the other stands still. What is
compared is the time from the question to the last token, prompt and all. Texts are compared too.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx

from app.engines.engine_slot import EngineKey
from app.engines.engines import load_engine
from core.config import DEFAULT_TARGET, RunConfig
from core.engine import Engine
from core.trace.events import Committed, RunFinished
from tests.faults.killed import ROOT, free_port
from tests.prompts import PROMPTS

_START_S = 120.0


class Timed(NamedTuple):
    """An answer and its time."""

    text: str
    num_tokens: int
    seconds: float


def main(arguments: list[str] | None = None) -> int:
    """Runs the whole of it; the status is 1 where a text differs."""
    parser = argparse.ArgumentParser(prog="tests.load.endpoint", description=__doc__)
    parser.add_argument("--target", default=DEFAULT_TARGET)
    parser.add_argument("--mode", default="hybrid")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--questions", type=int, default=4)
    parser.add_argument("--size", type=int, default=8, help="as --api-batch of app.py")
    options = parser.parse_args(arguments)
    engine = load_engine(EngineKey(options.target, None), lambda stage, done, total: None)
    assert isinstance(engine, Engine)
    config = RunConfig.from_dict(
        {
            "mode": options.mode,
            "target": options.target,
            "max_new_tokens": options.tokens,
            "trace_top_k": 0,
        }
    )
    questions = list(PROMPTS)[: options.questions]
    server, address = _start(options)
    try:
        pairs = [_pair(engine, address, question, config) for question in questions]  # warm-up
        is_same = all(own.text == served.text for own, served in pairs)
        ratios, own_speeds, served_speeds = [], [], []
        for _ in range(options.repeats):
            for question in questions:
                own, served = _pair(engine, address, question, config)
                is_same &= own.text == served.text
                ratios.append(served.seconds / own.seconds)
                own_speeds.append(own.num_tokens / own.seconds)
                served_speeds.append(served.num_tokens / served.seconds)
    finally:
        server.kill()
        server.wait()
    print(f"Engine.run   {median(own_speeds):8.1f} tokens/s")
    print(f"the endpoint {median(served_speeds):8.1f} tokens/s")
    low, high = min(ratios) - 1, max(ratios) - 1
    print(
        f"overhead     {median(ratios) - 1:8.1%} of the time (median of {len(ratios)} pairs, "
        f"{low:.1%} to {high:.1%})"
    )
    print("every text is the same" if is_same else "TEXTS DIFFER")
    return 0 if is_same else 1


def _pair(engine: Engine, address: str, question: str, config: RunConfig) -> tuple[Timed, Timed]:
    return _own(engine, question, config), _served(address, question, config)


def _own(engine: Engine, question: str, config: RunConfig) -> Timed:
    engine.forget()  # a batch finds nothing in the cache either
    start_s = time.perf_counter()
    text, count = "", 0
    prompt = engine.chat_prompt([{"role": "user", "content": question}])
    for event in engine.run(prompt, config):
        if isinstance(event, Committed):
            text += "".join(event.texts)
            count += len(event.token_ids)
        elif isinstance(event, RunFinished):
            text += event.tail_text
    return Timed(text, count, time.perf_counter() - start_s)


def _served(address: str, question: str, config: RunConfig) -> Timed:
    body = {
        "model": config.target,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": config.max_new_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    start_s = time.perf_counter()
    text, count = "", 0
    with httpx.stream("POST", f"{address}/chat/completions", json=body, timeout=600) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            for choice in chunk["choices"]:
                text += choice["delta"].get("content", "")
            if not chunk["choices"]:
                count = chunk["usage"]["completion_tokens"]
    return Timed(text, count, time.perf_counter() - start_s)


def _start(options: argparse.Namespace) -> tuple["subprocess.Popen[str]", str]:
    port = free_port()
    words = ["app.py", "--api-only", "--port", str(port), "--target", options.target]
    words += [
        "--api-batch",
        str(options.size),
        "--api-settings",
        json.dumps({"mode": options.mode}),
    ]
    server = subprocess.Popen([sys.executable, *words], cwd=Path(ROOT))
    address = f"http://127.0.0.1:{port}"
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        try:
            if "is ready" in httpx.get(f"{address}/healthz").json()["model"]:
                return server, f"{address}/v1"
        except httpx.ConnectError:
            pass
        time.sleep(0.2)
    server.kill()
    raise SystemExit("the server did not come up")


if __name__ == "__main__":
    sys.exit(main())
