"""llama-server, vLLM and SGLang: how each is started, and what it calls our settings."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from core.attached.engine import AttachedEngine
from core.attached.event_stream import open_client
from core.attached.kinds import KINDS
from core.benchmark.outside.completion_runner import INTERFACE, CompletionRunner
from core.benchmark.outside.engines import SERVER, OutsideEngine
from core.benchmark.outside.peer_target import PeerTarget
from core.benchmark.outside.server_process import HOST, ServerProcess, free_port
from core.benchmark.runners import Facts
from core.config import RunConfig
from core.errors import InvalidSettingError, SpecDecodesError
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


class ServerProgram(NamedTuple):
    """A server program; `core.attached.kinds` knows what each is asked."""

    program: str
    """What it is called on the search path."""
    package: str
    """What `pip install` is told."""
    launch: Callable[[PeerTarget], _Launch]
    ways: Mapping[str, list[str]]
    """What makes it speculate by itself, by a name that stands behind the server's: plain decoding
    has none. Speculation is no setting of a request, so that each is a server of its own."""
    fields: Mapping[str, Any] = MappingProxyType({})
    """Of a request besides: no use of an earlier prompt."""


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


# vLLM's own example.
_NGRAM = {
    "method": "ngram",
    "num_speculative_tokens": 5,
    "prompt_lookup_max": 4,
    "prompt_lookup_min": 2,
}

SERVERS = {
    "llama-server": ServerProgram(
        "llama-server",
        "xllamacpp",
        _launch_llama,
        {
            "ngram-simple": ["--spec-type", "ngram-simple"],
            "ngram-mod": ["--spec-type", "ngram-mod"],
        },
        {"cache_prompt": False},
    ),
    "vllm": ServerProgram(
        "vllm", "vllm-cpu", _launch_vllm, {"ngram": ["--speculative-config", dumps(_NGRAM)]}
    ),
    "sglang": ServerProgram("sglang", "sglang", _launch_sglang, {}),
}


def server_runners(
    engine: OutsideEngine, label: str, target: PeerTarget, config: RunConfig, progress: Progress
) -> list[CompletionRunner]:
    """A server at the URL `where`, or ones started now, plain and speculating, or as their options say:
    the program `where`, else that on the path; for llama-server also a Python that has xllamacpp. Of
    `SERVER` the kind is found out by asking.

    On a GPU only plain ones, for one server takes most of its memory. Raises InvalidSettingError
    where there is none, and where it does not answer.
    """
    name, where = engine.name, engine.where
    if where is not None and where.startswith(("http://", "https://")):
        if engine.options:
            raise InvalidSettingError(
                f"{engine.text} names a server that runs, which was given its options when it was "
                "started; leave them out."
            )
        server = _attached(name, where, target)
        facts = Facts(
            f"as the server has them ({server.server.model})",
            "the server's",
            f"{INTERFACE}; {where}",
        )
        return [CompletionRunner(label, server, config, facts, None)]
    kind = SERVERS[name]
    program = where or shutil.which(kind.program)
    if program is None:
        raise InvalidSettingError(
            f"{name} is not installed: there is no program {kind.program} on the search path; "
            f"install it, as by `pip install {kind.package}` in an environment of its own, give --with "
            f"{name}=PATH or {name}=URL, or leave {name} out."
        )
    ways = {"": [], **(kind.ways if target.device == "cpu" else {})}
    if engine.options:
        ways = {"": [word for option, value in engine.options for word in (f"--{option}", value)]}
    return [
        _started(name, f"{label} {way}".strip(), program, words, target, config, progress)
        for way, words in ways.items()
    ]


def _attached(name: str, where: str, target: PeerTarget) -> AttachedEngine:
    """A server that answers; raises InvalidSettingError where it does not."""
    # Words of vLLM and SGLang; llama-server knows the ends from the file.
    ends = {"stop_token_ids": sorted(target.end_token_ids)}
    own = SERVERS[name].fields if name in SERVERS else {}
    if name == SERVER:
        ends = {}  # an unknown one may not know the word
    try:
        return AttachedEngine(where, kind=KINDS.get(name), extra={**own, **ends})
    except SpecDecodesError as error:
        raise InvalidSettingError(
            f"{str(error).rstrip('.')}; give --with {name}=URL of a running server, or leave {name} out."
        ) from error


def _started(
    name: str, label: str, program: str, words: list[str], target: PeerTarget, config: RunConfig,
    progress: Progress,
) -> CompletionRunner:  # fmt: skip
    kind = SERVERS[name]
    launch = kind.launch(target)
    port = free_port()
    is_python = name == "llama-server" and Path(program).name.startswith("python")
    command = [program, "-I", str(_LLAMA_SERVER)] if is_python else [program]
    if is_python:
        _check_package(name, program, kind.package)
    command += [*launch.words, *words, "--host", HOST, "--port", str(port)]
    process = ServerProcess(name, command, launch.environment)
    url = f"http://{HOST}:{port}"
    process.wait_until_ready(open_client(url), progress)
    server = _attached(name, url, target)
    facts = Facts(launch.weights, launch.arithmetic, INTERFACE)
    return CompletionRunner(label, server, config, facts, ProcessMemory(process.pid))


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
