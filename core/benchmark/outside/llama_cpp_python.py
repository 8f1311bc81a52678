"""llama.cpp on the target's own GGUF file, plain and with its prompt lookup, by llama-cpp-python.

It runs in a process of its own, by any Python that has llama-cpp-python installed, so that neither
its threads nor its memory mix with ours. Its tokens are timed there, at the moments at which its
generator hands them out.
"""

import atexit
import json
import subprocess
from pathlib import Path
from typing import Any

import torch

from core.benchmark.measurement import Answer, Emission
from core.benchmark.outside.gguf_target import gguf_target
from core.benchmark.runners import Facts
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel
from core.runtime.peak_memory import ProcessMemory
from core.runtime.strict_json import dumps

NAME = "llama-cpp"
_WORKER = Path(__file__).with_name("llama_worker.py")


class LlamaCppRunner:
    """Implements `core.benchmark.runners.Runner`; greedy settings alone."""

    gives_plain_text = False

    def __init__(
        self, label: str, python: str, target: LoadedModel, config: RunConfig, *,
        prompt_lookup: bool,
    ):  # fmt: skip
        """Starts the process; raises InvalidSettingError where it cannot answer."""
        gguf = gguf_target(target, NAME)
        if not config.sampling.is_greedy:
            raise InvalidSettingError(
                f"{NAME} is compared with greedy settings alone; leave the temperature out."
            )
        self.label = f"{label} lookup" if prompt_lookup else label
        self.facts = Facts(
            gguf.weights, "llama.cpp's", "ids to llama-cpp-python in a process of its own"
        )
        settings = {
            "gguf": str(gguf.path),
            "num_threads": torch.get_num_threads(),
            "context": gguf.context,
            "max_new_tokens": config.max_new_tokens,
            "end_token_ids": sorted(target.eos_token_ids),
            "prompt_lookup": prompt_lookup,
        }
        try:
            self._process = subprocess.Popen(
                # Isolated, for else the modules beside it would be found before packages.
                [python, "-I", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError as error:
            raise _unusable(python, error.strerror or str(error)) from error
        atexit.register(self._process.kill)
        self.memory = ProcessMemory(self._process.pid)
        started = self._ask(settings)
        if "error" in started:
            self._process.kill()
            self._process.wait()
            raise _unusable(python, str(started["error"]))

    def answer(self, prompt: Prompt) -> Answer:
        """See `Runner.answer`."""
        result = self._ask(prompt.token_ids)
        if "error" in result:
            return Answer(error=str(result["error"]))
        times_s: list[float] = result["times_s"]
        return Answer(
            token_ids=result["token_ids"],
            emissions=[Emission(time_s, 1) for time_s in times_s],
            total_s=times_s[-1] if times_s else 0.0,
        )

    def _ask(self, question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            return {"error": "its process ended"}
        result: dict[str, Any] = json.loads(line)
        return result


def llama_cpp_runners(
    label: str, python: str, target: LoadedModel, config: RunConfig
) -> list[LlamaCppRunner]:
    """llama.cpp plain and with prompt lookup."""
    return [
        LlamaCppRunner(label, python, target, config, prompt_lookup=is_lookup)
        for is_lookup in (False, True)
    ]


def _unusable(python: str, reason: str) -> InvalidSettingError:
    return InvalidSettingError(
        f"{python} cannot run llama.cpp ({reason.rstrip('.')}); give --with {NAME}=PYTHON with a "
        f"Python that has llama-cpp-python, or leave {NAME} out."
    )
