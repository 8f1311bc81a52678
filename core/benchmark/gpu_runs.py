"""Runs of many questions on a GPU, and the numbers that a table needs of them."""

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._dynamo.utils import counters

from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.trace.events import Accepted, Committed, Drafted, RunFailed, RunFinished, Verified
from core.trace.stats import RunStats

# The first pass compiles, the second captures, the third only replays.
_WARM_UPS = 2


@dataclass
class Measured:
    """Sums over the measured runs."""

    stats: RunStats
    outputs: list[list[int]]
    peak_bytes: int
    num_compiled: int
    """Graphs that torch.compile made while it was measured; none are meant to be."""
    sizes: list[int] = field(default_factory=list)
    """Nodes of every tree."""

    def to_dict(self) -> dict[str, Any]:
        """What a table shows."""
        stats = self.stats
        per_step = 1e3 / max(1, stats.num_steps)
        return {
            "tokens_per_s": round(stats.tokens_per_s or 0.0, 1),
            "tau": round(stats.acceptance_length or 0.0, 2),
            "acceptance": None
            if stats.acceptance_rate is None
            else round(stats.acceptance_rate, 3),
            "draft_ms": round(stats.draft_s * per_step, 3),
            "verify_ms": round(stats.verify_s * per_step, 3),
            "accept_commit_ms": round((stats.accept_s + stats.commit_s) * per_step, 3),
            "other_ms": round(stats.other_s * per_step, 3),
            "mean_nodes": round(sum(self.sizes) / max(1, len(self.sizes)), 1),
            "peak_gib": round(self.peak_bytes / 2**30, 2),
            "compiled_meanwhile": self.num_compiled,
        }


def measure(
    engine: Engine, prompts: list[Prompt], values: dict[str, Any], *, warm_ups: int = _WARM_UPS
) -> Measured:
    """Runs all prompts once for real, after `warm_ups` passes of the same."""
    config = RunConfig.from_dict({"device": "cuda", **values})
    for _ in range(warm_ups):
        for prompt in prompts:
            _run(engine, prompt, config, Measured(RunStats(), [], 0, 0))
    torch.cuda.reset_peak_memory_stats()
    before = counters["stats"]["unique_graphs"]
    found = Measured(RunStats(), [], 0, 0)
    for prompt in prompts:
        _run(engine, prompt, config, found)
    found.num_compiled = counters["stats"]["unique_graphs"] - before
    return found


def _run(engine: Engine, prompt: Prompt, config: RunConfig, found: Measured) -> None:
    engine.forget()
    output: list[int] = []
    for event in engine.run(prompt, config):
        found.stats.add(event)
        match event:
            case Committed():
                output += event.token_ids
            case Drafted():
                found.sizes.append(len(event.token_ids) - 1)
            case RunFailed():
                raise RuntimeError(f"{config.mode}: {event.message}")
            case RunFinished():
                found.peak_bytes = max(found.peak_bytes, torch.cuda.max_memory_allocated())
            case Verified() | Accepted():
                pass
    found.outputs.append(output)


def identical(found: Measured, plain: Measured) -> str:
    """How many outputs are those of plain decoding."""
    same = sum(a == b for a, b in zip(found.outputs, plain.outputs, strict=False))
    return f"{same}/{len(found.outputs)}"


def copy_bandwidth() -> float:
    """Bytes read and written a second by a copy of 4 GiB on the device."""
    source = torch.empty(2**32, dtype=torch.uint8, device="cuda").random_(0, 255)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(6):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        best = max(best, 2 * source.nbytes / (start.elapsed_time(end) * 1e-3))
    return best


def transformers_speed(
    module: Any, prompts: list[Prompt], num_tokens: int, *, is_static: bool
) -> float:
    """Tokens a second of transformers' own greedy generate, without the prompt's time."""
    options: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    if is_static:
        options["cache_implementation"] = "static"

    def seconds(prompt: Prompt, count: int) -> float:
        given = torch.tensor([prompt.token_ids], device="cuda")
        torch.cuda.synchronize()
        before = time.perf_counter()
        module.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=count,
            min_new_tokens=count,
            **options,
        )
        torch.cuda.synchronize()
        return time.perf_counter() - before

    for _ in range(2):
        seconds(prompts[0], num_tokens)
        seconds(prompts[0], 1)
    total = sum(seconds(prompt, num_tokens) - seconds(prompt, 1) for prompt in prompts)
    return len(prompts) * (num_tokens - 1) / total
