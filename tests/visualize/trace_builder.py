"""Hand-made traces of real events, whose numbers can be worked out in the head.

Every step takes 2 ms drafting, 10 ms verifying, 1 ms judging, 1 ms committing and 1 ms besides.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    DrafterFailed,
    Event,
    FinishReason,
    Observed,
    Prefilled,
    Proposed,
    RunFailed,
    RunFinished,
    RunStarted,
    ServerTotals,
    StepBorder,
    TokenSource,
    TokenTexts,
    Verified,
)
from core.trace.file import Trace
from core.trace.stats import collect_stats
from tests.profile_events import profile_started

STEP_S = 0.015
PREFILL_S = 0.1


class Node(NamedTuple):
    """A drafted node."""

    token_id: int
    parent: int = 0
    draft_prob: float = 0.5
    target_prob: float = 0.25


class StepSpec(NamedTuple):
    """One step: what was drafted, and what became of it."""

    next_token_id: int | None
    nodes: tuple[Node, ...] = ()
    path: tuple[int, ...] = ()
    tested: tuple[int, ...] = ()
    recorded: bool = True
    top_k_probs: tuple[float, ...] = (0.5, 0.25)
    entropy_nats: float = 1.5
    drafter_fails: bool = False


CHAIN = StepSpec(
    next_token_id=12,
    nodes=(Node(10, 0, 0.9), Node(11, 1, 0.6), Node(13, 2, 0.1)),
    path=(1, 2),
    tested=(1, 2, 3),
)
"""A chain of three: two accepted, the third refused."""
FORK = StepSpec(
    next_token_id=22,
    nodes=(Node(20, 0, 0.7), Node(21, 0, 0.2), Node(23, 1, 0.5)),
    path=(2,),
    tested=(1, 2),
)
"""Two branches: the first refused, the second accepted, a node behind the first untested."""
PLAIN = StepSpec(next_token_id=30)


def make_trace(
    *steps: StepSpec,
    mode: str = "ngram",
    run_id: str = "run-1",
    end: FinishReason | str | None = "length",
    texts: dict[int, str] | None = None,
    step_s: float = STEP_S,
    **started: Any,
) -> Trace:
    """A whole run; `end` may be "failed", or None for a run that was cut off."""
    table = _TextTable(texts or {})
    events: list[Event] = [_started(mode, run_id, started), _prefilled()]
    now_s, cache_length, root = PREFILL_S, 3, 3
    for number, spec in enumerate(steps, start=1):
        if spec.drafter_fails:
            at = {"step": number, "t_start_s": now_s, "t_end_s": now_s}
            events.append(DrafterFailed(error="ValueError", message="no idea", **at))
        made = _step(number, spec, root, table, now_s, cache_length, step_s)
        events += made
        root, cache_length = made[-1].token_ids[-1], made[-1].cache_length
        now_s += step_s
    totals = collect_stats(events).to_dict()
    when = {"step": len(steps), "t_start_s": now_s, "t_end_s": now_s, "totals": totals}
    if end == "failed":
        events.append(RunFailed(error="MemoryError", message="out of memory", **when))
    elif end is not None:
        events.append(
            RunFinished(reason=end, tail_text="", peak_memory_bytes=1_000, **when)  # type: ignore[arg-type]
        )
    return Trace(events)


def make_server_trace(border: StepBorder = "counters", **started: Any) -> Trace:
    """An answer of a server: one token with the prompt, then a step of two accepted of three and one of
    its own, then one without a draft, each 15 ms. With `chunk` its drafts are not told on the way, and
    with `none` neither are its tokens."""
    server = {"kind": "other", "address": "http://127.0.0.1:1", "speculates": True}
    events: list[Event] = [_started("server", "run-s", {"server": server, **started}), _prefilled()]
    specs = [([7], 0, 0, 0), ([10, 11, 12], 3, 3, 2), ([13], 0, 0, 0)]
    now_s = PREFILL_S
    for number, (token_ids, drafted, tested, accepted) in enumerate(specs, start=1):
        end_s = now_s if number == 1 else now_s + STEP_S
        numbers = (drafted, tested, accepted) if border == "counters" else (None, None, None)
        is_told = border != "none"
        sources: list[TokenSource] = ["accepted"] * accepted + ["recovered" if drafted else "plain"]
        if not all(number is not None for number in numbers):
            sources = ["untold"] * (len(token_ids) if is_told else 1)
        events.append(
            Observed(
                step=number,
                t_start_s=now_s,
                t_end_s=end_s,
                border=border,
                num_tokens=len(token_ids) if is_told else None,
                num_steps=1,
                num_drafted=numbers[0],
                num_tested=numbers[1],
                num_accepted=numbers[2],
                with_prompt=number == 1,
                target_probs=[],
            )
        )
        events.append(
            Committed(
                step=number,
                t_start_s=end_s,
                t_end_s=end_s,
                token_ids=token_ids if is_told else [-1],
                texts=[f"<{one}>" for one in token_ids] if is_told else ["text"],
                sources=sources,
                nodes=[-1] * (len(token_ids) if is_told else 1),
                cache_length=None,
                step_s=end_s - now_s,
            )
        )
        now_s = end_s
    told = {"num_tokens": 5, "num_drafted": 3, "num_accepted": 2}
    when = {"step": 3, "t_start_s": now_s, "t_end_s": now_s}
    seen = {"counters": told, "chunk": {"num_tokens": 5}, "none": {}}[border]
    events.append(
        ServerTotals(fields=["usage"], told=told, seen=seen, confirms_steps=False, **when)
    )
    totals = collect_stats(events).to_dict()
    events.append(
        RunFinished(reason="eos", tail_text="", peak_memory_bytes=None, totals=totals, **when)
    )
    return Trace(events)


def make_profile_trace() -> Trace:
    """Three plain steps with a drafter that proposes the right token, then a wrong one, then none."""
    trace = make_trace(*[StepSpec(next_token_id=token) for token in (11, 12, 13)], mode="naive")
    started = profile_started(
        {"mode": "sd-eagle", "max_new_tokens": 3, "drafter": {"depth": 2, "num_nodes": 4}},
        drafter="sd-eagle",
        draft={"name": "a head"},
        reads_emitted=True,
        context_limit=100,
        forward_rows=[1, 8],
        forward_s=[0.01, 0.012],
        draft_s=[0.001, 0.001, 0.002],
    )
    trees = {1: [3, 11, 12], 2: [11, 40]}
    events: list[Event] = []
    for event in trace.events:
        if isinstance(event, Drafted) and event.step in trees:
            token_ids = trees[event.step]
            events.append(
                Proposed(
                    step=event.step,
                    t_start_s=event.t_start_s,
                    t_end_s=event.t_end_s,
                    depth_limit=None,
                    token_ids=token_ids,
                    parents=list(range(-1, len(token_ids) - 1)),
                    draft_probs=[1.0, 0.8, 0.9][: len(token_ids)],
                    forward_s=sum([0.0025, 0.0015][: len(token_ids) - 1]),
                    choosing_s=0.0002,
                    level_rows=[1] * (len(token_ids) - 1),
                    level_s=[0.0025, 0.0015][: len(token_ids) - 1],
                )
            )
        events.append(event)
        if isinstance(event, RunStarted):
            events.append(started)
    return Trace(events)


class _TextTable:
    def __init__(self, texts: dict[int, str]):
        self._texts = texts

    def of(self, token_id: int) -> str:
        return self._texts.get(token_id, f"w{token_id} ")


def _started(mode: str, run_id: str, changes: dict[str, Any]) -> RunStarted:
    values: dict[str, Any] = {
        "run_id": run_id,
        "started_at": "2026-01-02T03:04:05+00:00",
        "config": {"mode": mode, "dtype": "float32"},
        "target": {"name": "tiny"},
        "draft": None,
        "device": "CPU, 2 threads",
        "versions": {"torch": "2.13.0"},
        "seed": 7,
        "prompt_text": "Say w10",
        "prompt_token_ids": [1, 2, 5, 3],
        "memory": {"num_answers": 2, "num_tokens": 30},
    }
    return RunStarted(step=0, t_start_s=0.0, t_end_s=0.0, **{**values, **changes})


def _prefilled() -> Prefilled:
    return Prefilled(
        step=0, t_start_s=0.0, t_end_s=PREFILL_S, num_tokens=3, num_reused=0, cache_length=3
    )


def _step(
    number: int,
    spec: StepSpec,
    root: int,
    table: _TextTable,
    now_s: float,
    cache_length: int,
    step_s: float,
) -> tuple[TokenTexts, Drafted, Verified, Accepted, Committed]:
    times = [now_s + part for part in (0.0, 0.002, 0.012, 0.013, 0.014)]
    num_nodes = len(spec.nodes) + 1
    token_ids = [root, *(node.token_id for node in spec.nodes)]
    emitted = [token_ids[node] for node in spec.path]
    sources: list[TokenSource] = ["accepted"] * len(spec.path)
    nodes = list(spec.path)
    next_source: TokenSource | None = None
    if spec.next_token_id is not None:
        next_source = _own_source(spec)
        emitted.append(spec.next_token_id)
        sources.append(next_source)
        nodes.append(-1)
    depths = [0]
    for node in spec.nodes:
        depths.append(depths[node.parent] + 1)
    used = sorted({*token_ids, *emitted})
    recorded = num_nodes if spec.recorded else 0
    return (
        TokenTexts(
            step=number,
            t_start_s=now_s,
            t_end_s=now_s,
            token_ids=used,
            texts=[table.of(token_id) for token_id in used],
        ),
        Drafted(
            step=number,
            t_start_s=times[0],
            t_end_s=times[1],
            drafter="scripted" if spec.nodes else "none",
            token_ids=token_ids,
            parents=[-1, *(node.parent for node in spec.nodes)],
            depths=depths,
            draft_probs=[1.0, *(node.draft_prob for node in spec.nodes)],
            top_k_token_ids=[[]] * num_nodes,
            top_k_probs=[[]] * num_nodes,
        ),
        Verified(
            step=number,
            t_start_s=times[1],
            t_end_s=times[2],
            num_rows=num_nodes,
            target_probs=[1.0, *(node.target_prob for node in spec.nodes)][:recorded],
            top_k_token_ids=[list(range(len(spec.top_k_probs)))] * recorded,
            top_k_probs=[list(spec.top_k_probs)] * recorded,
            entropies_nats=[spec.entropy_nats] * recorded,
        ),
        Accepted(
            step=number,
            t_start_s=times[2],
            t_end_s=times[3],
            path=list(spec.path),
            tested=list(spec.tested),
            next_token_id=spec.next_token_id,
            next_source=next_source,
            next_prob=0.4 if spec.recorded and next_source else None,
            noises=[0.25, None][: len(spec.tested)] + [1.5] * (len(spec.tested) - 2),
            thresholds=[0.75, 2.0][: len(spec.tested)] + [None] * (len(spec.tested) - 2),
        ),
        Committed(
            step=number,
            t_start_s=times[3],
            t_end_s=times[4],
            token_ids=emitted,
            texts=[table.of(token_id) for token_id in emitted],
            sources=sources,
            nodes=nodes,
            cache_length=cache_length + 1 + len(spec.path),
            step_s=step_s,
        ),
    )


def _own_source(spec: StepSpec) -> TokenSource:
    if not spec.nodes:
        return "plain"
    last = spec.path[-1] if spec.path else 0
    return "recovered" if any(node.parent == last for node in spec.nodes) else "bonus"


def make_branch(trace: Trace, *steps: StepSpec, token_ids: list[int], position: int) -> Trace:
    """A run of these steps behind the beginning of another's answer."""
    made = make_trace(*steps, run_id="run-2")
    given = [*trace.token_ids[:position], *token_ids]
    names = {**trace.token_texts, **{token_id: f"w{token_id} " for token_id in token_ids}}
    start, *rest = made.events
    assert isinstance(start, RunStarted)
    started = replace(
        start,
        parent=trace.run_id,
        forked_at=position,
        prefix_token_ids=given,
        prefix_texts=[names[token_id] for token_id in given],
    )
    named = TokenTexts(
        step=0, t_start_s=0.0, t_end_s=0.0, token_ids=given, texts=started.prefix_texts
    )
    return Trace([started, named, *rest])
