"""Random runs that keep the rules of real ones."""

from hypothesis import strategies as st

from core.trace import Trace
from tests.visualize.trace_builder import Node, StepSpec, make_trace

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
        end=draw(st.sampled_from(["eos", "length", "stopped", "failed", None])),
        texts=draw(st.dictionaries(st.integers(0, 50), texts)),
        prompt_text=draw(texts),
    )
