"""A target without weights, for exact expectations: its logits are a function of the prefix."""

import hashlib
from collections.abc import Callable, Sequence

import torch

from core.acceptance.corrections import Corrections
from core.config import RunConfig
from core.decoding.loop import Decoder
from core.decoding.step import HostStepper
from core.decoding.stop_strings import StopText
from core.drafters.base import CostOfRows, Drafter, DraftLimits, Outcome
from core.drafters.proposals import DraftRows
from core.trace.events import Committed, Event
from core.trees.tree import DraftTree

LogitsOf = Callable[[Sequence[int]], list[float]]


def hashed_logits(vocab_size: int, spread: float = 3.0) -> LogitsOf:
    """Logits that look random and depend on the last three tokens."""

    def logits_of(prefix: Sequence[int]) -> list[float]:
        digest = hashlib.sha256(repr(tuple(prefix[-3:])).encode()).digest()
        return [spread * (digest[index % 32] / 255.0 - 0.5) for index in range(vocab_size)]

    return logits_of


def following(sequence: Sequence[int], vocab_size: int) -> LogitsOf:
    """Logits whose argmax continues `sequence`, position by position."""

    def logits_of(prefix: Sequence[int]) -> list[float]:
        logits = [0.0] * vocab_size
        logits[sequence[len(prefix) % len(sequence)]] = 10.0
        return logits

    return logits_of


class ScriptedBackend:
    """Implements `core.decoding.backend.Backend`; remembers what was asked of it."""

    def __init__(self, logits_of: LogitsOf, vocab_size: int, context_limit: int = 10_000):
        self.vocab_size = vocab_size
        self.context_limit = context_limit
        self.committed: list[int] = []
        self.num_forwards = 0
        self.is_finished = False
        self._logits_of = logits_of
        self._tree = DraftTree(0)

    def begin(
        self, prompt_token_ids: list[int], max_length: int, should_stop: Callable[[], bool]
    ) -> int:
        self.committed = prompt_token_ids[:-1]
        return 0

    def tree_forward(self, tree: DraftTree) -> torch.Tensor:
        self.num_forwards += 1
        self._tree = tree
        prefixes = (
            [*self.committed, tree.root_token_id, *tree.path_token_ids(node)]
            for node in range(len(tree))
        )
        return torch.tensor([self._logits_of(prefix) for prefix in prefixes])

    def commit(self, path: list[int]) -> None:
        self.committed.append(self._tree.root_token_id)
        self.committed.extend(self._tree.token_ids[node] for node in path)

    def finish(self) -> None:
        self.is_finished = True


class ScriptedDrafter:
    """Drafts the tree that `make_tree` gives for the committed tokens."""

    name = "scripted"
    identity = None

    def __init__(self, make_tree: Callable[[list[int], DraftLimits], DraftTree]):
        self.outcomes: list[Outcome] = []
        self._make_tree = make_tree
        self._token_ids: list[int] = []

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        self._token_ids = prompt_token_ids.copy()

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        assert root_token_id == self._token_ids[-1], "the root is the last committed token"
        return self._make_tree(self._token_ids, limits)

    def commit(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._token_ids += outcome.emitted_token_ids

    def finish(self) -> None:
        pass


class NumberText:
    """Writes each token as its number."""

    def push(self, token_id: int) -> str:
        return f"{token_id} "

    def finish(self) -> str:
        return ""


def ticking_clock() -> Callable[[], float]:
    """A clock that goes on by a millisecond at every reading."""
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 0.001
        return now_s

    return clock


def scripted_decoder(
    backend: ScriptedBackend,
    drafter: Drafter | None,
    config: RunConfig,
    end_token_ids: frozenset[int] = frozenset(),
    should_stop: Callable[[], bool] = lambda: False,
    prompt: Sequence[int] = (),
    given: Sequence[int] = (),
) -> Decoder:
    """The loop over a scripted target, with a ticking clock; an answer to the prompt may be given in
    part."""
    clock = ticking_clock()
    corrections = Corrections(
        config.sampling,
        {int(token): bias for token, bias in config.sampling.token_biases},
        backend.vocab_size,
        end_token_ids,
    )
    corrections.begin([*prompt], given)
    text = StopText(NumberText(), config.stop, config.sampling.min_new_tokens)
    for token_id in given:
        text.push(token_id)
    stepper = HostStepper(
        backend,
        drafter,
        config,
        device=torch.device("cpu"),
        end_token_ids=end_token_ids,
        clock=clock,
        corrections=corrections,
        num_given=len(given),
    )
    return Decoder(
        stepper,
        config,
        end_token_ids=end_token_ids,
        text=text,
        clock=clock,
        should_stop=should_stop,
    )


def run_loop(
    backend: ScriptedBackend,
    drafter: Drafter | None,
    prompt: list[int],
    *,
    end_token_ids: frozenset[int] = frozenset(),
    should_stop: Callable[[], bool] = lambda: False,
    given: Sequence[int] = (),
    **settings: object,
) -> tuple[list[Event], str]:
    """All events of a run and the reason of its end."""
    config = RunConfig.from_dict(dict(settings))
    decoder = scripted_decoder(backend, drafter, config, end_token_ids, should_stop, prompt, given)
    events: list[Event] = []
    run = decoder.run(prompt, given)
    while True:
        try:
            events.append(next(run))
        except StopIteration as end:
            return events, end.value


def emitted(events: list[Event]) -> list[int]:
    return [
        token_id for event in events if isinstance(event, Committed) for token_id in event.token_ids
    ]


def rows_at(*positions: int) -> DraftRows:
    """Children of roots, for a proposer that looks at positions alone."""
    return DraftRows([*positions], DraftTree(0), [0] * len(positions))


def tree_from(root: int, entries: Sequence[tuple[int, int]]) -> DraftTree:
    """A tree from (parent, token id) pairs."""
    tree = DraftTree(root)
    for parent, token_id in entries:
        tree.add(parent, token_id, 0.5)
    return tree
