"""Random runs that keep the rules of real ones, and files of traces that break them."""

import copy
import io
import json
from typing import Any

from hypothesis import strategies as st

from core.trace.file import Trace, write_trace
from tests.visualize.trace_builder import CHAIN, FORK, Node, StepSpec, make_trace

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
probs = st.floats(0.0, 1.0)


@st.composite
def step_specs(draw: st.DrawFn) -> StepSpec:
    """A random tree, a random walk down it, and the target's own token."""
    num_nodes = draw(st.integers(0, 6))
    nodes = tuple(
        Node(draw(st.integers(0, 50)), draw(st.integers(0, node)), draw(probs), draw(probs))
        for node in range(num_nodes)
    )
    path: list[int] = []
    tested: list[int] = []
    last = 0
    while children := [i for i, node in enumerate(nodes, start=1) if node.parent == last]:
        last = draw(st.sampled_from([*children, 0]))
        tested += children if last == 0 else children[: children.index(last) + 1]
        if last == 0:
            break
        path.append(last)
    ends = bool(path) and draw(st.booleans())
    return StepSpec(
        next_token_id=None if ends else draw(st.integers(0, 50)),
        nodes=nodes,
        path=tuple(path),
        tested=tuple(tested),
        recorded=draw(st.booleans()),
        drafter_fails=draw(st.booleans()),
        top_k_probs=tuple(draw(st.lists(probs, max_size=3))),
        entropy_nats=draw(st.floats(0.0, 12.0)),
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """A random run with random texts, which may have failed or been cut off."""
    return make_trace(
        *draw(st.lists(step_specs(), max_size=5)),
        mode=draw(st.sampled_from(["naive", "ngram"])),
        run_id=draw(texts),
        end=draw(st.sampled_from(["eos", "stop_string", "length", "stopped", "failed", None])),
        texts=draw(st.dictionaries(st.integers(0, 50), texts)),
        prompt_text=draw(texts),
    )


def written(trace: Trace) -> str:
    """A trace as its file has it."""
    file = io.StringIO()
    write_trace(trace, file)
    return file.getvalue()


odd_values = st.sampled_from(
    [None, True, -1, 0, 1, 3, 2**63, 10**400, -0.5, 1e300, "", "\ud800", "a", [], [[]], {}, [-1]]
)
fitting_values: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers(-1, 4) | st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False) | st.floats(-0.1, 1.1),
    str: st.text(max_size=3) | st.sampled_from(["plain", "accepted", "\ud83d"]),
}


@st.composite
def mutated_traces(draw: st.DrawFn) -> str:
    """A good trace in which a few values were replaced, removed or added, or lines moved."""
    lines = [json.loads(line) for line in io.StringIO(written(make_trace(CHAIN, FORK)))]
    for _ in range(draw(st.integers(1, 3))):
        where: Any = draw(st.sampled_from(lines))
        while True:
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(where[key], (dict, list)) and draw(st.booleans()):
                where = where[key]
                continue
            if draw(st.integers(0, 9)) == 0:
                del where[key]
            else:
                fitting = fitting_values.get(type(where[key]), odd_values)
                value = draw(draw(st.sampled_from([fitting, fitting, odd_values])))
                where[key] = copy.deepcopy(value)  # it may be changed itself, and is drawn again
            break
    if draw(st.integers(0, 4)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
    return "".join(json.dumps(line) + "\n" for line in lines)
