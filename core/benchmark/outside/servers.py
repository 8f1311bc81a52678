"""llama-server, vLLM and SGLang: how each is started, and what it calls our settings."""

import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from core.benchmark.outside.completion_runner import (
    INTERFACE,
    CompletionRunner,
    open_client,
    served_model,
)
from core.benchmark.outside.gguf_target import gguf_target
from core.benchmark.outside.server_process import HOST, ServerProcess, free_port
from core.benchmark.runners import Facts, weights_in_words
from core.config import RunConfig, SamplingConfig
from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel
from core.runtime.peak_memory import ProcessMemory
from core.runtime.storage import Progress


class _Launch(NamedTuple):
    """How a server is started on a target, and what it then computes with."""

    words: list[str]
    """Of the command, behind the program."""
    weights: str
    arithmetic: str


class ServerKind(NamedTuple):
    """A server program."""

    program: str
    """What it is called on the search path."""
    launch: Callable[[LoadedModel], _Launch]
    fields: dict[str, Any]
    """Of a request, beside those of OpenAI: no penalties, and no use of an earlier prompt."""
    no_top_k: int
    """Its word for keeping all tokens."""


def _launch_llama(target: LoadedModel) -> _Launch:
    gguf = gguf_target(target, "llama-server")
    threads = str(torch.get_num_threads())
    words = ["-m", str(gguf.path), "-c", str(gguf.context), "-np", "1"]
    if target.device.type == "cpu":
        words += ["-t", threads, "-tb", threads, "-ngl", "0"]
    return _Launch(words, gguf.weights, "llama.cpp's")


def _launch_vllm(target: LoadedModel) -> _Launch:
    words = ["serve", str(_folder(target, "vllm")), "--max-model-len", str(target.context_limit)]
    words += ["--dtype", _dtype(target), "--no-enable-prefix-caching"]
    return _Launch(words, weights_in_words(target), f"vLLM's, {_dtype(target)}")


def _launch_sglang(target: LoadedModel) -> _Launch:
    words = ["serve", "--model-path", str(_folder(target, "sglang")), "--disable-radix-cache"]
    words += ["--dtype", _dtype(target), "--context-length", str(target.context_limit)]
    words += ["--device", target.device.type]
    return _Launch(words, weights_in_words(target), f"SGLang's, {_dtype(target)}")


def _folder(target: LoadedModel, name: str) -> Any:
    if target.is_packed:
        raise InvalidSettingError(
            f"{name} is started on floating numbers, and those of the target are whole with weights "
            f"{target.weights}; give weights full, or --with {name}=URL of a server that has them."
        )
    return target.source.folder


def _dtype(target: LoadedModel) -> str:
    return str(target.dtype).removeprefix("torch.")


_TOLD_ON_THE_WAY = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}

SERVERS = {
    "llama-server": ServerKind(
        "llama-server",
        _launch_llama,
        {
            "stream_options": {"include_usage": True},
            "timings_per_token": True,
            "cache_prompt": False,
            "repeat_penalty": 1.0,
            "min_p": 0.0,
        },
        0,
    ),
    "vllm": ServerKind(
        "vllm", _launch_vllm, {**_TOLD_ON_THE_WAY, "repetition_penalty": 1.0, "min_p": 0.0}, -1
    ),
    "sglang": ServerKind(
        "sglang", _launch_sglang, {**_TOLD_ON_THE_WAY, "repetition_penalty": 1.0, "min_p": 0.0}, -1
    ),
}


def server_runner(
    name: str, label: str, where: str | None, target: LoadedModel, config: RunConfig,
    progress: Progress,
) -> CompletionRunner:  # fmt: skip
    """A server at the URL `where`, or one started now: the program `where`, else that on the path.

    Raises InvalidSettingError where there is none, and where it does not answer.
    """
    kind = SERVERS[name]
    if where is not None and where.startswith(("http://", "https://")):
        client = open_client(where)
        model = served_model(client, name)
        facts = Facts(f"as the server has them ({model})", "the server's", f"{INTERFACE}; {where}")
        return CompletionRunner(label, client, _request(kind, model, target, config), facts, None)
    program = where or shutil.which(kind.program)
    if program is None:
        raise InvalidSettingError(
            f"{name} is not installed: there is no program {kind.program} on the search path; "
            f"install it, give --with {name}=PATH or {name}=URL, or leave {name} out."
        )
    launch = kind.launch(target)
    port = free_port()
    process = ServerProcess(name, [program, *launch.words, "--host", HOST, "--port", str(port)])
    client = open_client(f"http://{HOST}:{port}")
    process.wait_until_ready(client, progress)
    model = served_model(client, name)
    facts = Facts(launch.weights, launch.arithmetic, INTERFACE)
    request = _request(kind, model, target, config)
    return CompletionRunner(label, client, request, facts, ProcessMemory(process.pid))


def _request(
    kind: ServerKind, model: str, target: LoadedModel, config: RunConfig
) -> dict[str, Any]:
    return {
        "model": model,
        "stream": True,
        "max_tokens": config.max_new_tokens,
        **_sampling_fields(config.sampling, kind.no_top_k),
        **kind.fields,
        # Words of vLLM and SGLang; llama-server knows the ends from the file.
        "stop_token_ids": sorted(target.eos_token_ids),
    }


def _sampling_fields(sampling: SamplingConfig, no_top_k: int) -> dict[str, Any]:
    if sampling.is_greedy:
        return {"temperature": 0.0, "top_p": 1.0, "top_k": no_top_k}
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or no_top_k,
        "seed": sampling.seed,
    }
