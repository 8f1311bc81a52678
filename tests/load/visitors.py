"""Many visitors on a real page: `python -m tests.load.visitors --visitors 20 --minutes 5`.

Every answer is compared with the engine's own. At the end it tells what was wrong, if anything, how
fair the queue was, how soon runs stopped, and what became of the server's memory; its status is 1
where something was wrong.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median

import psutil

from core.command_line import words
from core.config import DEFAULT_TARGET
from tests.faults.killed import ROOT, free_port
from tests.load.oracle import Oracle
from tests.load.visitor import Asked, Visitor
from tests.page_client import PageClient

# Runs that came within this of each other may begin in any order: the clock is the visitors'.
_SAME_TIME_S = 3.0
_MEMORY_PAUSE_S = 2.0
# The newest 200 runs stay in memory with all their trees.
_MOST_GROWTH_BYTES = 300_000_000
_START_S = 120.0


def main(arguments: list[str] | None = None) -> int:
    """Runs the whole of it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="tests.load.visitors", description=__doc__)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--target", default=DEFAULT_TARGET)
    parser.add_argument("--modes", type=words, default=("naive", "ngram", "hybrid"))
    parser.add_argument("--workers", type=int, default=0, help="as of app.py")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    oracle = Oracle(options.target)
    with tempfile.TemporaryDirectory(prefix="specdecodes-load-") as folder:
        log = Path(folder) / "server.log"
        server, address = _start(options, Path(folder), log)
        try:
            troubles = _visit(options, oracle, server, address)
        finally:
            server.kill()
            server.wait()
        if "Traceback" in (printed := log.read_text("utf-8")):
            troubles.append(f"the server printed a stack trace: {printed[-2000:]}")
    for trouble in troubles[:20]:
        print(f"TROUBLE: {trouble}")
    print("all was well" if not troubles else f"{len(troubles)} troubles")
    return 1 if troubles else 0


def _start(
    options: argparse.Namespace, folder: Path, log: Path
) -> tuple["subprocess.Popen[bytes]", str]:
    port = free_port()
    given = ["--port", str(port), "--target", options.target, "--max-queue", "10000"]
    if options.workers:
        given += ["--workers", str(options.workers)]
    environment = {**os.environ, "LOGLEVEL": "INFO", "TMPDIR": str(folder)}
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "app.py", *given],
            cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip
    deadline_s = time.monotonic() + _START_S
    while "SpecDecodes is at" not in log.read_text("utf-8"):
        if server.poll() is not None or time.monotonic() > deadline_s:
            raise SystemExit(f"the page did not start: {log.read_text('utf-8')}")
        time.sleep(0.2)
    return server, f"http://127.0.0.1:{port}"


def _visit(
    options: argparse.Namespace, oracle: Oracle, server: "subprocess.Popen[bytes]", address: str
) -> list[str]:
    end = threading.Event()
    visitors = [
        Visitor(address, oracle, options.modes, options.seed * 1000 + number, end)
        for number in range(options.visitors)
    ]
    threads = [threading.Thread(target=visitor.run) for visitor in visitors]
    for thread in threads:
        thread.start()
    memory: list[int] = []
    until_s = time.monotonic() + options.minutes * 60
    while time.monotonic() < until_s:
        memory.append(_memory_bytes(server.pid))
        time.sleep(_MEMORY_PAUSE_S)
    end.set()
    for thread in threads:
        thread.join()
    troubles = [text for visitor in visitors for text in visitor.findings.troubles]
    troubles += _tell(visitors, options)
    troubles += _tell_memory([*memory, _memory_bytes(server.pid)])
    client = PageClient(address)
    health = client.http.get("/healthz").json()
    if health["status"] != "ok" or health["queue"] != 0:
        troubles.append(f"the page is left in the state {health}")
    return troubles


def _tell(visitors: list[Visitor], options: argparse.Namespace) -> list[str]:
    findings = [visitor.findings for visitor in visitors]
    counts = sum((Counter(found.counts) for found in findings), Counter[str]())
    num_tokens = sum(found.num_tokens for found in findings)
    asked = sorted((a for found in findings for a in found.asked), key=lambda a: a.queued_s)
    waits = [a.began_s - a.queued_s for a in asked if a.began_s is not None] or [0.0]
    per_visitor = [len(found.asked) for found in findings]
    after_stop = Counter(n for found in findings for n in found.steps_after_stop)
    print(f"{len(asked)} runs of {len(visitors)} visitors, {num_tokens} tokens, {dict(counts)}")
    print(f"runs a visitor: {min(per_visitor)} to {max(per_visitor)}")
    print(f"waited: median {median(waits):.1f} s, longest {max(waits):.1f} s")
    pressed = [n for found in findings for n in found.steps_after_press] or [0]
    print(f"steps after a stop was pressed: median {median(pressed)}, most {max(pressed)}")
    print(f"steps after the server had it: {dict(sorted(after_stop.items()))}")
    troubles = []
    if (unfair := _num_overtaken(asked)) and not options.workers:
        troubles.append(f"{unfair} runs began after one that came much later")
    # The flag goes to a worker's process, which may be a step ahead of what has come back.
    most_steps = 3 if options.workers else 1
    late = sum(count for steps, count in after_stop.items() if steps > most_steps)
    if late:
        troubles.append(f"{late} runs took more than {most_steps} steps to stop")
    return troubles


def _num_overtaken(asked: list[Asked]) -> int:
    """Runs that began after one that was queued clearly later."""
    begun = [(a.queued_s, a.began_s) for a in asked if a.began_s is not None]
    return sum(
        any(
            later_queued_s > queued_s + _SAME_TIME_S and later_began_s < began_s - _SAME_TIME_S
            for later_queued_s, later_began_s in begun
        )
        for queued_s, began_s in begun
    )


def _memory_bytes(pid: int) -> int:
    """Resident memory of the server and its workers."""
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])


def _tell_memory(memory: list[int]) -> list[str]:
    settled = memory[len(memory) // 3]
    growth = memory[-1] - settled
    print(
        f"memory: {settled / 1e6:.0f} MB after a third, {max(memory) / 1e6:.0f} at most, "
        f"{memory[-1] / 1e6:.0f} at the end"
    )
    if growth > _MOST_GROWTH_BYTES:
        return [f"the server's memory grew by {growth / 1e6:.0f} MB"]
    return []


if __name__ == "__main__":
    sys.exit(main())
