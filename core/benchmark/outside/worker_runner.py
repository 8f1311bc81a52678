"""An engine in a process of its own, so that neither its threads nor its memory mix with ours.

Its tokens are timed there, at the moments at which it hands them out; this process sleeps meanwhile.
"""

import atexit
import json
import subprocess
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from core.benchmark.measurement import Answer, Emission
from core.benchmark.outside.peer_target import PeerTarget
from core.benchmark.outside.peers import PEERS, Peer, Way
from core.benchmark.runners import Facts, OneAtATime
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.errors import InvalidSettingError
from core.runtime.peak_memory import ProcessMemory
from core.runtime.strict_json import dumps

_LOOP = Path(__file__).with_name("workers") / "loop.py"


class WorkerError(Exception):
    """A worker that does not answer; the message says why."""


class WorkerProcess:
    """A process that talks JSON lines; ended when Python ends."""

    def __init__(
        self, command: Sequence[str], settings: dict[str, Any], folder: Path | None = None
    ):
        """Raises WorkerError where it does not come up; `folder` is where it runs, if not here."""
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=folder,
            )
        except OSError as error:
            raise WorkerError(error.strerror or str(error)) from error
        atexit.register(self._process.kill)
        self.pid = self._process.pid
        try:
            self.started = self.ask(settings)
            """What it says of itself."""
        except WorkerError:
            self._process.kill()
            self._process.wait()
            raise

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Its answer; raises WorkerError with what it says of a failure."""
        assert self._process.stdin is not None and self._process.stdout is not None, "pipes"
        try:
            self._process.stdin.write(dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise WorkerError("its process ended")
        result: dict[str, Any] = json.loads(line)
        if "error" in result:
            raise WorkerError(str(result["error"]))
        return result


class WorkerRunner(OneAtATime):
    """Implements `core.benchmark.runners.Runner` by one of a process' ways."""

    def __init__(
        self,
        label: str,
        process: WorkerProcess,
        facts: Facts,
        *,
        way: int = 0,
        gives_plain_text: bool = False,
    ):
        self.label = label
        self.facts = facts
        self.memory = ProcessMemory(process.pid)
        self.gives_plain_text = gives_plain_text
        self._process = process
        self._way = way

    def answer(self, prompt: Prompt) -> Answer:
        """See `Runner.answer`."""
        try:
            result = self._process.ask({"way": self._way, "prompt": prompt.token_ids})
        except WorkerError as error:
            return Answer(error=str(error))
        times_s: list[float] = result["times_s"]
        return Answer(
            token_ids=result["token_ids"],
            text=result.get("text", ""),
            emissions=[Emission(time_s, len(list(same))) for time_s, same in groupby(times_s)],
            total_s=times_s[-1] if times_s else 0.0,
        )


def peer_runners(
    name: str, label: str, python: str, target: PeerTarget, config: RunConfig
) -> list[WorkerRunner]:
    """An engine of `PEERS` in all its ways, each in a process of its own.

    Raises InvalidSettingError where it cannot answer.
    """
    peer = PEERS[name]
    target.gguf(name)
    if not config.sampling.is_greedy:
        raise InvalidSettingError(
            f"{name} is compared with greedy settings alone; leave the temperature out."
        )
    return [_peer_runner(name, peer, way, label, python, target, config) for way in peer.ways]


def _peer_runner(
    name: str, peer: Peer, way: Way, label: str, python: str, target: PeerTarget, config: RunConfig
) -> WorkerRunner:
    gguf = target.gguf(name)
    settings = {
        "script": peer.script,
        "ways": [way.settings],
        "gguf": str(gguf.path),
        "num_threads": target.num_threads,
        "context": target.context,
        "max_new_tokens": config.max_new_tokens,
        "end_token_ids": sorted(target.end_token_ids),
    }
    try:
        # Isolated, for else the modules beside it would be found before packages.
        process = WorkerProcess([python, "-I", str(_LOOP)], settings)
    except WorkerError as error:
        raise InvalidSettingError(
            f"{python} cannot run {name} ({str(error).rstrip('.')}); install it by `{python} -m pip "
            f"install {peer.package}`, give --with {name}=PYTHON of a Python that has it, or leave "
            f"{name} out."
        ) from error
    arithmetic = f"{peer.arithmetic} ({process.started['about']})"
    facts = Facts(gguf.weights, arithmetic, "ids to a process of its own")
    return WorkerRunner(f"{label} {way.name}".strip(), process, facts)
