"""The tables of the GPU, a method each, and their runs; `core.benchmark.gpu` is the command."""

import gc
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.utils import counters

from core.benchmark.questions import load_questions, pick_questions
from core.benchmark.wide_shapes import DRAFTERS
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import LoadedModel, load_model
from core.runtime.strict_json import dumps
from core.trace.events import Accepted, Committed, Drafted, RunFailed, RunFinished, Verified
from core.trace.stats import RunStats

# The first pass compiles, the second captures; sizes that are chosen later have graphs of their own.
_WARM_UPS = 4
# Of every answer.
NUM_TOKENS = 128
_EAGER_QUESTIONS = 1
_TREE = {"depth": 7, "branching": 8, "num_nodes": 47}
_CHAIN = {"depth": 6, "branching": 1}
Rows = list[dict[str, Any]]


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


class GpuTables:
    """The models of a folder, and the questions."""

    def __init__(self, folder: Path, questions: Path, limit: int, dtype: str):
        self._folder = folder
        self._dtype = dtype
        self._questions = pick_questions(load_questions(questions), limit=limit)
        self._target: LoadedModel | None = None
        self._compiled: Engine | None = None
        self._eager: Engine | None = None

    @property
    def target(self) -> LoadedModel:
        """On the GPU, loaded when it is first asked for."""
        if self._target is None:
            name = str(self._folder / "target")
            self._target = load_model(name, dtype=self._dtype, device="cuda")
        return self._target

    def engine(self, *, compile: bool = True) -> Engine:
        """Over the one copy of the weights."""
        if compile:
            self._compiled = self._compiled or Engine(self.target)
            return self._compiled
        self._eager = self._eager or Engine(replace(self.target, is_compiled=False))
        return self._eager

    def forget(self) -> None:
        """Frees all of it."""
        self._target = self._compiled = self._eager = None
        gc.collect()
        torch.cuda.empty_cache()

    def prompts(self, engine: Engine, limit: int | None = None) -> list[Prompt]:
        """The first turn of every question."""
        return [
            engine.chat_prompt([{"role": "user", "content": question.turns[0]}])
            for question in self._questions[:limit]
        ]

    def values(self, mode: str, **drafter: Any) -> dict[str, Any]:
        """A run's settings, with the widened drafter where a mode needs one."""
        draft = str(self._folder / DRAFTERS[mode]) if mode in DRAFTERS else None
        values: dict[str, Any] = {"mode": mode, "draft": draft, "max_new_tokens": NUM_TOKENS}
        return {**values, "drafter": drafter} if drafter else values

    def plain(self) -> Measured:
        engine = self.engine()
        return measure(engine, self.prompts(engine), self.values("naive"))

    # The tables ---------------------------------------------------------------------------------

    def table_plain(self) -> Rows:
        """Plain decoding against the memory's bandwidth and against transformers."""
        bandwidth = copy_bandwidth()
        found = self.plain()
        num_bytes = self.target_bytes()
        ours = found.to_dict()
        step_s = found.stats.steps_s / found.stats.num_steps
        verify_s = found.stats.verify_s / found.stats.num_steps
        limit_s = num_bytes / bandwidth
        eager = self.engine(compile=False)
        prompts = self.prompts(eager, _EAGER_QUESTIONS)
        slow = measure(eager, prompts, self.values("naive"), warm_ups=1)
        rows = [
            {"what": "compiled", **ours, "of_limit": round(limit_s / step_s, 3),
             "forward_of_limit": round(limit_s / verify_s, 3)},
            {"what": "eager", **slow.to_dict(), "identical": identical(slow, found)},
            {"what": "limit", "tokens_per_s": round(1 / limit_s, 1),
             "bandwidth_TB_s": round(bandwidth / 1e12, 3), "weights_GB": round(num_bytes / 1e9, 2)},
        ]  # fmt: skip
        return rows

    def table_transformers(self) -> Rows:
        """transformers' own generate, as it is and with its static cache compiled."""
        rows: Rows = []
        prompts = self.prompts(self.engine(), 1)
        module = self.target.module
        for is_static, name in ((False, "eager"), (True, "static cache, compiled")):
            try:
                speed = transformers_speed(module, prompts, NUM_TOKENS, is_static=is_static)
                rows.append({"what": name, "tokens_per_s": round(speed, 1)})
            except Exception as error:  # another program's failure is a row of the table
                rows.append({"what": name, "failed": str(error).splitlines()[0][:200]})
        del module
        self.forget()
        return rows

    def target_bytes(self) -> int:
        """What one token reads of the weights."""
        stack = self.target.stack
        assert stack is not None, "the bench holds on to it"
        return stack.num_bytes

    def table_modes(self) -> Rows:
        """Every mode compiled, and eager for some questions."""
        engine, eager = self.engine(), self.engine(compile=False)
        prompts = self.prompts(engine)
        plain = self.plain()
        slow_plain = measure(
            eager, prompts[:_EAGER_QUESTIONS], self.values("naive"), warm_ups=1
        ).stats.tokens_per_s
        rows: Rows = [{"what": "naive", **plain.to_dict(), "eager_tokens_per_s": slow_plain}]
        specs: list[tuple[str, dict[str, Any]]] = [
            ("hybrid", _TREE),
            ("sd-classic", _TREE),
            ("sd-eagle", _TREE),
            ("sd-block", _TREE),
            ("sd-block", _CHAIN),
            ("share-sd", _CHAIN),
            ("ngram", {}),
            ("sd-classic", _CHAIN),
        ]
        for mode, drafter in specs:
            values = self.values(mode, **drafter)
            found = measure(engine, prompts, values)
            slow = measure(eager, prompts[:_EAGER_QUESTIONS], values, warm_ups=1)
            speed = found.stats.tokens_per_s or 0.0
            rows.append({
                "what": f"{mode} {_words(drafter)}", **found.to_dict(),
                "times_plain": round(speed / (plain.stats.tokens_per_s or 1.0), 3),
                "eager_tokens_per_s": round(slow.stats.tokens_per_s or 0.0, 1),
                "identical": identical(found, plain),
            })  # fmt: skip
            print(dumps(rows[-1]), flush=True)
        return rows

    def table_share_sd(self) -> Rows:
        """Share-SD by bits and group sizes: draft step against verification, and acceptance."""
        engine, plain = self.engine(), self.plain()
        prompts = self.prompts(engine)
        rows: Rows = [{"what": "naive", **plain.to_dict()}]
        for bits, group_size in ((2, 64), (3, 64), (4, 32), (4, 64), (4, 128), (8, 64)):
            drafter = {"bits": bits, "group_size": group_size, "depth": 5, "fixed_size": True}
            found = measure(engine, prompts, self.values("share-sd", **drafter))
            row = found.to_dict()
            speed = found.stats.tokens_per_s or 0.0
            rows.append({
                "what": f"{bits} bits, groups of {group_size}", **row,
                "draft_step_over_verify": round(row["draft_ms"] / 5 / row["verify_ms"], 3),
                "times_plain": round(speed / (plain.stats.tokens_per_s or 1.0), 3),
                "identical": identical(found, plain),
            })  # fmt: skip
            print(dumps(rows[-1]), flush=True)
        return rows

    def table_offload(self, budget: str) -> Rows:
        """Plain decoding and Share-SD under one memory budget."""
        self.forget()
        name = str(self._folder / "target")
        target = load_model(name, dtype=self._dtype, device="cuda", gpu_memory=budget)
        engine = Engine(target)
        del target
        prompts = self.prompts(engine, 3)
        common = {"gpu_memory": budget}
        plain = measure(
            engine, prompts, {**self.values("naive"), **common, "max_new_tokens": 24}, warm_ups=1
        )
        rows: Rows = [{"what": f"naive within {budget}", **plain.to_dict()}]
        for depth, branching in ((16, 1), (24, 1), (32, 1), (16, 4)):
            nodes = depth if branching == 1 else 64
            drafter = {
                "depth": depth,
                "branching": branching,
                "num_nodes": nodes,
                "fixed_size": True,
            }
            found = measure(engine, prompts, {**self.values("share-sd", **drafter), **common})
            speed = found.stats.tokens_per_s or 0.0
            rows.append({
                "what": f"share-sd within {budget}, {_words(drafter)}", **found.to_dict(),
                "times_plain": round(speed / (plain.stats.tokens_per_s or 1.0), 2),
            })  # fmt: skip
            print(dumps(rows[-1]), flush=True)
        torch.cuda.set_per_process_memory_fraction(1.0)
        return rows

    def table_parallel(self) -> Rows:
        """Layers that all GPUs share out, against one of them: plain decoding and drafters."""
        self.forget()
        one = self.plain()
        speed = one.stats.tokens_per_s or 1.0
        rows: Rows = [{"what": "naive", "gpus": 1, **one.to_dict()}]
        self.forget()
        name, count = str(self._folder / "target"), torch.cuda.device_count()
        if count < 2:
            raise InvalidSettingError(
                "the table parallel needs several GPUs and this machine has one; leave it out."
            )
        engine = Engine(load_model(name, dtype=self._dtype, device="cuda", placement=count))
        prompts = self.prompts(engine)
        for mode, drafter in (
            ("naive", {}), ("sd-eagle", _TREE), ("sd-block", _TREE), ("sd-classic", _TREE),
            ("ngram", {}),
        ):  # fmt: skip
            found = measure(engine, prompts, self.values(mode, **drafter))
            rows.append({
                "what": f"{mode} {_words(drafter)}", "gpus": count, **found.to_dict(),
                "times_one": round((found.stats.tokens_per_s or 0.0) / speed, 3),
                "identical": identical(found, one),
                "first_differences": [
                    _first_difference(a, b)
                    for a, b in zip(found.outputs, one.outputs, strict=True)
                ],
            })  # fmt: skip
            print(dumps(rows[-1]), flush=True)
        return rows

    def table_costs(self) -> Rows:
        """T(n) of the compiled forward."""
        curve = self.engine().cost_curve(256)
        return [
            {"rows": rows, "ms": round(seconds * 1e3, 3), "times_one": round(seconds / curve(1), 3)}
            for rows, seconds in zip(curve.rows, curve.seconds, strict=True)
        ]

    def table_tracing(self) -> Rows:
        """Tracing on against off, plain and with trees, in turns."""
        engine = self.engine()
        prompts = self.prompts(engine)
        rows: Rows = []
        for mode, drafter in (
            ("naive", {}),
            ("sd-eagle", {"depth": 6, "branching": 6, "num_nodes": 31}),
        ):
            speeds: dict[int, list[float]] = {0: [], 5: []}
            for top_k in (5, 0, 0, 5, 5, 0):
                values = {**self.values(mode, **drafter), "trace_top_k": top_k}
                warm_ups = 0 if speeds[top_k] else 2
                found = measure(engine, prompts, values, warm_ups=warm_ups)
                speeds[top_k].append(found.stats.tokens_per_s or 0.0)
            on, off = sorted(speeds[5])[1], sorted(speeds[0])[1]
            rows.append({"what": mode, "on": round(on, 1), "off": round(off, 1),
                         "cost_percent": round(100 * (1 - on / off), 2)})  # fmt: skip
        return rows


def _first_difference(found: list[int], expected: list[int]) -> int | None:
    """Place of the first token that is another; None where all are the same."""
    pairs = enumerate(zip(found, expected, strict=False))
    return next((place for place, (one, other) in pairs if one != other), None)


def _words(drafter: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in drafter.items())
