"""llama.cpp's own command on the target's GGUF file: a process an answer, timed by what it prints.

It loads the file anew each time, which its times leave out. The program for raw completion is
called `llama-completion` today and was `llama-cli` before.
"""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.benchmark.measurement import Answer, Emission
from core.benchmark.outside.peer_target import PeerTarget
from core.benchmark.runners import Facts, OneAtATime
from core.config import RunConfig, SamplingConfig
from core.decoding.run_start import Prompt
from core.errors import InvalidSettingError
from core.runtime.peak_memory import PeakMemory, high_water_bytes

NAME = "llama-cli"
_WATCH_S = 0.05
_PROGRAMS = ("llama-completion", "llama-cli")
_TIMES = re.compile(r"(prompt eval|eval|sampling) time =\s+([\d.]+) ms(?: /\s+(\d+))?")


class PrintedTimes(NamedTuple):
    """What the program prints of a run at its end."""

    prompt_s: float
    num_prompt_tokens: int
    later_s: float
    """Forwards behind the prompt's, and all sampling."""
    num_later_tokens: int
    """Behind the first one, which the prompt's forward gives."""


def read_times(printed: str) -> PrintedTimes | None:
    """The times in what the program printed; None where they are not all there."""
    found = {kind: (float(ms) / 1000, int(num or 0)) for kind, ms, num in _TIMES.findall(printed)}
    if not {"prompt eval", "eval"} <= found.keys():
        return None
    prompt_s, num_prompt_tokens = found["prompt eval"]
    eval_s, num_runs = found["eval"]
    sampling_s, _ = found.get("sampling", (0.0, 0))
    return PrintedTimes(prompt_s, num_prompt_tokens, eval_s + sampling_s, num_runs)


class _LastRun:
    """Implements `MemoryGauge` for a process that has ended."""

    def __init__(self) -> None:
        self._resident_bytes: int | None = None

    def reset(self) -> None:
        """See `MemoryGauge.reset`."""
        self._resident_bytes = None

    def watch(self, pid: int) -> None:
        """Takes the mark as it is now; it only grows, and goes with the process."""
        self._resident_bytes = high_water_bytes(pid) or self._resident_bytes

    def peak(self) -> PeakMemory:
        """See `MemoryGauge.peak`."""
        return PeakMemory(self._resident_bytes)


class LlamaCliRunner(OneAtATime):
    """Implements `core.benchmark.runners.Runner`."""

    gives_plain_text = False

    def __init__(self, label: str, where: str | None, target: PeerTarget, config: RunConfig):
        """`where` is the program, else the path is searched; raises InvalidSettingError."""
        gguf = target.gguf(NAME)
        program = where or next(filter(None, map(shutil.which, _PROGRAMS)), None)
        if program is None or shutil.which(program) is None:
            raise InvalidSettingError(
                f"{NAME} is not installed: there is no program {program or ' or '.join(_PROGRAMS)}"
                f" to run; install it, give --with {NAME}=PATH, or leave {NAME} out."
            )
        self.label = label
        self.memory = _LastRun()
        self.facts = Facts(
            gguf.weights, "llama.cpp's", "text to a process an answer, times by what it prints"
        )
        self._read_text: Callable[[list[int]], str] = target.tokenizer.decode
        threads = str(target.num_threads)
        self._command = [
            program, "-m", str(gguf.path), "-c", str(target.context), "-t", threads, "-tb", threads,
            "-n", str(config.max_new_tokens), "--repeat-penalty", "1.0",
            "--min-p", str(config.sampling.min_p),
            "-no-cnv", "--no-display-prompt", "--simple-io", "--perf",
            *_sampling_words(config.sampling),
            *(["-ngl", "0"] if target.device == "cpu" else []),
        ]  # fmt: skip

    def answer(self, prompt: Prompt) -> Answer:
        """See `Runner.answer`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prompt.txt"
            # Special tokens stay in the text, and the program reads them as such. It takes a line
            # end away from the end of a text file, and leaves a binary one alone.
            path.write_text(self._read_text(prompt.token_ids), encoding="utf-8", newline="")
            try:
                done = self._run([*self._command, "-bf", str(path)], Path(folder))
            except OSError as error:
                return Answer(error=str(error))
        if done.status != 0:
            last = (done.printed.strip().splitlines() or ["it said nothing"])[-1]
            return Answer(error=f"it ended with status {done.status}: {last[:300]}")
        times = read_times(done.printed)
        if times is None:
            return Answer(error="it printed no times; give a llama.cpp that has --perf")
        if times.num_prompt_tokens != len(prompt.token_ids):
            return Answer(
                error=f"it read {times.num_prompt_tokens} prompt tokens, and "
                f"{len(prompt.token_ids)} were given"
            )
        end_s = times.prompt_s + times.later_s
        emissions = [Emission(times.prompt_s, 1), Emission(end_s, times.num_later_tokens)]
        return Answer(text=done.text, emissions=emissions, is_streamed=False, total_s=end_s)

    def _run(self, command: Sequence[str], folder: Path) -> "_Done":
        """Its text, what else it printed, and its memory, which ends with it."""
        with (folder / "text").open("w+b") as text, (folder / "printed").open("w+b") as printed:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=text, stderr=printed
            )
            while process.poll() is None:
                self.memory.watch(process.pid)
                time.sleep(_WATCH_S)
            text.seek(0)
            printed.seek(0)
            return _Done(
                process.returncode,
                text.read().decode(errors="replace"),
                printed.read().decode(errors="replace"),
            )


class _Done(NamedTuple):
    status: int
    text: str
    printed: str


def _sampling_words(sampling: SamplingConfig) -> list[str]:
    if sampling.is_greedy:
        return ["--temp", "0"]
    return [
        "--temp", str(sampling.temperature), "--top-k", str(sampling.top_k),
        "--top-p", str(sampling.top_p), "--seed", str(sampling.seed),
    ]  # fmt: skip
