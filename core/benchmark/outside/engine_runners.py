"""Starts the other programs of a comparison, each on our target and questions."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import core
from core.benchmark.outside.engines import OutsideEngine
from core.benchmark.outside.llama_cli import LlamaCliRunner
from core.benchmark.outside.peer_target import PeerTarget
from core.benchmark.outside.peers import PEERS
from core.benchmark.outside.servers import server_runners
from core.benchmark.outside.worker_runner import (
    WorkerError,
    WorkerProcess,
    WorkerRunner,
    peer_runners,
)
from core.benchmark.runners import Facts, Runner
from core.config import RunConfig
from core.errors import InvalidSettingError
from core.runtime.storage import Progress


def outside_runners(
    engines: Sequence[OutsideEngine],
    target: PeerTarget,
    config: RunConfig,
    draft: str | None,
    progress: Progress,
) -> list[Runner]:
    """The runners of all engines under the settings of plain decoding, `config`.

    Raises InvalidSettingError for one that is not installed or cannot run the target.
    """
    if engines:
        _check_settings(engines[0].name, config)
    counts = Counter(engine.label for engine in engines)
    runners: list[Runner] = []
    for engine in engines:
        name, where = engine.name, engine.where
        label = engine.label if counts[engine.label] == 1 else engine.text
        progress(f"starting {label}", 0, 0)
        if name == "transformers":
            runners += _transformers_runners(label, where or target.dtype, target, config, draft)
        elif name in PEERS:
            runners += peer_runners(name, label, where or sys.executable, target, config)
        elif name == "llama-cli":
            runners.append(LlamaCliRunner(label, where, target, config))
        else:
            runners += server_runners(engine, label, target, config, progress)
    return runners


def _check_settings(name: str, config: RunConfig) -> None:
    """Raises InvalidSettingError for what other programs define otherwise, or not at all."""
    own = [*config.sampling.corrections, *(["stop"] if config.stop else [])]
    if own:
        raise InvalidSettingError(
            f"{name} is compared without {own[0]}, which other programs define in ways of their own; "
            f"leave {own[0]} or {name} out."
        )


def _transformers_runners(
    label: str, dtype: str, target: PeerTarget, config: RunConfig, draft: str | None
) -> list[WorkerRunner]:
    """All ways over one module in one process.

    In another number format than ours a near-tie may fall differently, so that its text is not held
    against plain decoding's.
    """
    target.folder("transformers")
    settings = {
        "label": label,
        "config": config.to_dict(),
        "dtype": dtype,
        "draft": draft,
        "num_threads": target.num_threads,
    }
    command = [sys.executable, "-m", "core.benchmark.outside.transformers_worker"]
    try:
        process = WorkerProcess(command, settings, Path(core.__file__).parents[1])
    except WorkerError as error:
        raise InvalidSettingError(
            f"transformers cannot run {target.source.name} ({str(error).rstrip('.')}); give another "
            "target or leave transformers out."
        ) from error
    facts = Facts(
        target.full_weights(dtype), f"transformers', {dtype}", "ids to a process of its own"
    )
    has_our_text = config.sampling.is_greedy and dtype == target.dtype
    return [
        WorkerRunner(name, process, facts, way=way, gives_plain_text=has_our_text)
        for way, name in enumerate(process.started["labels"])
    ]
