"""An engine that plays a script with real events, so that the page is tested without a model."""

import itertools
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from core.config import RunConfig
from core.decoding.joining import JoiningRun
from core.decoding.remembering import remembered
from core.drafters.suffix_memory import SuffixMemory
from core.errors import InvalidSettingError, ModelUnavailableError, SpecDecodesError
from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    Event,
    Prefilled,
    Proposed,
    RunFailed,
    RunFinished,
    RunStarted,
    TokenTexts,
    Verified,
)
from core.trace.failures import refused
from core.trace.fork import Fork
from core.trace.stats import RunStats
from tests.profile_events import profile_started

TEXT = (
    "Speculative decoding drafts several tokens at once.\n\n"
    "The target then verifies the whole draft in **one** forward pass, keeps the longest "
    "prefix that it would have written itself, and adds a token of its own. 🎉\n"
)


# What a run under a lossy rule has in common with the others.
LOSSY_AFTER = 4


class ScriptedPrompt(NamedTuple):
    text: str
    token_ids: list[int]
    fork: Fork | None = None


class ScriptedEngine:
    """Writes `text` over and over, in steps whose trees are accepted in a fixed pattern."""

    is_usable = True

    def __init__(
        self,
        text: str = TEXT,
        *,
        step_s: float = 0.0,
        width: int = 3,
        depth: int = 4,
        fail_at: int | None = None,
        unavailable: dict[str, str] | None = None,
    ):
        self._pieces = re.findall(r"\n|\s?[^\s]+|\s", text)
        self._step_s = step_s
        self._width = width
        self._depth = depth
        self._fail_at = fail_at
        self._unavailable = unavailable or {}
        self._numbers = itertools.count(1)
        self.prompts: list[list[dict[str, str]] | str | list[int] | Fork] = []
        self.num_remembered: list[int | None] = []
        """Answers in the memory of each run when it began; None for a run without one."""
        self.num_running = 0
        self.most_running = 0

    def chat_prompt(self, messages: list[dict[str, str]]) -> ScriptedPrompt:
        self.prompts.append(messages)
        return ScriptedPrompt(messages[-1]["content"], [1, 2, 3])

    def raw_prompt(self, text: str) -> ScriptedPrompt:
        self.prompts.append(text)
        return ScriptedPrompt(text, [1, 2, 3])

    def token_prompt(self, token_ids: list[int]) -> ScriptedPrompt:
        self.prompts.append(token_ids)
        return ScriptedPrompt(str(token_ids), token_ids)

    def fork_prompt(self, fork: Fork) -> ScriptedPrompt:
        self.prompts.append(fork)
        if max(fork.token_ids) >= len(self._vocabulary):
            raise InvalidSettingError(f"there is no token {max(fork.token_ids)}; give another one.")
        return ScriptedPrompt(fork.prompt_text, fork.prompt_token_ids, fork)

    @property
    def _vocabulary(self) -> list[str]:
        return list(dict.fromkeys(self._pieces))

    def unavailable_reason(self, mode: str, draft: str | None = None) -> str | None:
        return self._unavailable.get(mode)

    def run(
        self,
        prompt: ScriptedPrompt,
        config: RunConfig,
        *,
        memory: SuffixMemory | None = None,
        should_stop: Callable[[], bool],
    ) -> Iterator[Event]:
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        self.num_remembered.append(None if memory is None else len(memory.answers))
        events = self._events(prompt, config, memory, should_stop)
        try:
            yield from events if memory is None else remembered(events, memory)
        finally:
            self.num_running -= 1

    def profile(
        self, prompt: ScriptedPrompt, config: RunConfig, *, should_stop: Callable[[], bool]
    ) -> Iterator[Event]:
        """A drafter that is right for three tokens and wrong behind them, at every position."""
        events = list(self.run(prompt, config.plain(), should_stop=should_stop))
        text = [
            token for event in events if isinstance(event, Committed) for token in event.token_ids
        ]
        for event in events:
            if isinstance(event, Drafted) and event.step < len(text):
                right = text[event.step - 1 : event.step + 2]
                yield _proposed(event, [*right, (right[-1] + 1) % 3][: len(text) - event.step])
            yield event
            if isinstance(event, RunStarted):
                yield profile_started(config.to_dict())

    def run_batch(
        self,
        runs: Sequence[tuple[ScriptedPrompt, RunConfig]],
        size: int,
        *,
        memory: SuffixMemory | None = None,
        should_stop: Callable[[], bool],
    ) -> Iterator[tuple[int, Event]]:
        """A step of each in turn; a waiting one begins when another has ended."""
        waiting = (
            self.run(prompt, config, memory=memory, should_stop=should_stop)
            for prompt, config in runs
        )
        return _in_turn(lambda: next(waiting, None), size)

    def run_joining(
        self, next_run: Callable[[], JoiningRun | None], size: int
    ) -> Iterator[tuple[int, Event]]:
        """A step of each in turn, as `run_batch`."""

        def next_events() -> Iterator[Event] | None:
            joining = next_run()
            return None if joining is None else self._joined(joining)

        return _in_turn(next_events, size)

    def _joined(self, joining: JoiningRun) -> Iterator[Event]:
        try:
            prompt = joining.make_prompt()
        except SpecDecodesError as error:
            return iter([refused(error)])
        return self.run(prompt, joining.config, should_stop=joining.should_stop)

    def _events(
        self,
        prompt: ScriptedPrompt,
        config: RunConfig,
        memory: SuffixMemory | None,
        should_stop: Callable[[], bool],
    ) -> Iterator[Event]:
        stats = RunStats()
        for event in self._steps(prompt, config, memory, should_stop):
            stats.add(event)
            yield event
            if isinstance(event, Committed):
                time.sleep(self._step_s)
        at_s = stats.total_s
        ended = {"step": stats.num_steps, "t_start_s": at_s, "t_end_s": at_s}
        if self._fail_at is not None and stats.num_steps >= self._fail_at:
            message = "The scripted engine broke; run it again."
            yield RunFailed(**ended, error="Broken", message=message, totals=stats.to_dict())
            return
        reason = "stopped" if should_stop() else "length"
        yield RunFinished(
            **ended, reason=reason, tail_text="", totals=stats.to_dict(), peak_memory_bytes=0
        )

    def _steps(
        self,
        prompt: ScriptedPrompt,
        config: RunConfig,
        memory: SuffixMemory | None,
        should_stop: Callable[[], bool],
    ) -> Iterator[Event]:
        yield RunStarted(
            step=0,
            t_start_s=0.0,
            t_end_s=0.0,
            run_id=f"scripted-{next(self._numbers)}",
            started_at="2026-01-01T00:00:00+00:00",
            config=config.to_dict(),
            target={"name": "scripted", "forward_ms": {"1": 12.0}},
            draft=None,
            device="none",
            versions={},
            seed=0,
            prompt_text=prompt.text,
            prompt_token_ids=prompt.token_ids,
            memory=None if memory is None else _told_of(memory),
            **_branch(prompt.fork, self._vocabulary),
        )
        vocabulary = self._vocabulary
        ids = {piece: number for number, piece in enumerate(vocabulary)}
        times = {"step": 0, "t_start_s": 0.0, "t_end_s": 0.01}
        yield TokenTexts(**times, token_ids=list(range(len(vocabulary))), texts=vocabulary)
        yield Prefilled(**times, num_tokens=2, num_reused=0, cache_length=2)
        stream = self._stream(config)
        chance = random.Random(config.sampling.seed)
        given = prompt.fork.token_ids if prompt.fork else []
        for _ in given:
            next(stream)
        left, step, root, at_s = config.max_new_tokens - len(given), 0, 0, 0.01
        while left and not should_stop() and step != self._fail_at:
            step += 1
            if config.mode == "naive":
                pieces, num_accepted = [next(stream)], 0
            else:
                num_accepted = chance.randint(0, min(self._depth, left - 1))
                pieces = [next(stream) for _ in range(num_accepted + 1)]
            emitted = [ids[piece] for piece in pieces]
            is_plain = config.mode == "naive"
            for event in self._step(step, at_s, root, emitted, pieces, is_plain, len(vocabulary)):
                yield _with_noise(event) if config.sampling.do_sample else event
            left, root, at_s = left - len(emitted), emitted[-1], at_s + 0.02

    def _stream(self, config: RunConfig) -> Iterator[str]:
        """The text over and over; a lossy rule goes its own way after some words."""
        if config.mode != "naive" and config.accept == "typical":
            return itertools.chain(self._pieces[:LOSSY_AFTER], itertools.cycle(self._pieces[::-1]))
        return itertools.cycle(self._pieces)

    def _step(
        self,
        step: int,
        at_s: float,
        root: int,
        emitted: list[int],
        pieces: list[str],
        is_plain: bool,
        vocab_size: int,
    ) -> Iterator[Event]:
        """A tree whose first branch is the accepted one; the others hang below the root."""
        tokens, parents, depths, num_accepted = [root], [-1], [0], len(emitted) - 1
        if not is_plain:
            branch = [*emitted[:-1], (emitted[-1] + 1) % vocab_size]
            branch += [(emitted[-1] + 2) % vocab_size] * (self._depth - len(branch))
            branches = [branch[: self._depth]]
            for number in range(1, self._width):
                branches.append([(emitted[0] + 5 * number) % vocab_size] * 2)
            for branch in branches:
                for place, token_id in enumerate(branch):
                    parents.append(len(tokens) - 1 if place else 0)
                    tokens.append(token_id)
                    depths.append(place + 1)
        path = list(range(1, num_accepted + 1))
        tested = [
            node
            for node in range(1, len(tokens))
            if parents[node] in [0, *path] and (node in path or parents[node] == (path or [0])[-1])
        ]
        rows = len(tokens)
        top_ids = [[(node * 7 + k) % vocab_size for k in range(5)] for node in range(rows)]
        for node, token_id in zip([0, *path], emitted, strict=True):
            top_ids[node][0] = token_id
        own_source = "plain" if is_plain else "recovered"
        if not is_plain and num_accepted == self._depth:
            own_source = "bonus"

        def span(start_ms: float, end_ms: float) -> dict[str, float]:
            return {
                "step": step,
                "t_start_s": at_s + start_ms / 1e3,
                "t_end_s": at_s + end_ms / 1e3,
            }

        yield Drafted(
            **span(0, 0.5 if not is_plain else 0),
            drafter="none" if is_plain else "scripted",
            token_ids=tokens,
            parents=parents,
            depths=depths,
            draft_probs=[1.0] + [0.9 ** depths[node] for node in range(1, rows)],
            top_k_token_ids=[
                [(node * 3 + k) % vocab_size for k in range(5)] for node in range(rows)
            ],
            top_k_probs=[[0.5, 0.2, 0.1, 0.05, 0.05]] * rows,
        )
        yield Verified(
            **span(0.5, 15),
            num_rows=rows,
            target_probs=[1.0] + [0.8 if node in path else 0.05 for node in range(1, rows)],
            top_k_token_ids=top_ids,
            top_k_probs=[[0.8, 0.1, 0.05, 0.03, 0.02]] * rows,
            entropies_nats=[0.7] * rows,
        )
        yield Accepted(
            **span(15, 16),
            path=path,
            tested=[] if is_plain else tested,
            next_token_id=emitted[-1],
            next_source=own_source,
            next_prob=0.6,
        )
        yield Committed(
            **span(16, 18),
            token_ids=emitted,
            texts=pieces,
            sources=["accepted"] * num_accepted + [own_source],
            nodes=[*path, -1],
            cache_length=step,
            step_s=0.02,
        )


def _branch(fork: Fork | None, vocabulary: list[str]) -> dict[str, Any]:
    """What a branch tells of its beginning."""
    if fork is None:
        return {}
    return {
        "parent": fork.parent,
        "forked_at": fork.position,
        "prefix_token_ids": fork.token_ids,
        "prefix_texts": [vocabulary[token_id] for token_id in fork.token_ids],
    }


def _proposed(event: Drafted, chain: list[int]) -> Proposed:
    return Proposed(
        step=event.step,
        t_start_s=event.t_start_s,
        t_end_s=event.t_end_s,
        depth_limit=len(chain),
        token_ids=[event.token_ids[0], *chain],
        parents=list(range(-1, len(chain))),
        draft_probs=[1.0] + [0.9] * len(chain),
        forward_s=0.001 * len(chain),
        choosing_s=0.0001,
        level_rows=[1] * len(chain),
    )


def _told_of(memory: SuffixMemory) -> dict[str, Any]:
    """As `MemoryView.to_dict`."""
    return {
        "tokenizer": "scripted",
        "num_answers": len(memory.answers),
        "num_tokens": memory.num_tokens,
        "sha256": "",
    }


def _with_noise(event: Event) -> Event:
    """A judgement as sampling records it."""
    if not isinstance(event, Accepted):
        return event
    count = len(event.tested)
    return replace(event, noises=[-0.5] * count, thresholds=[1.25] * count)


def load_scripted(engine: ScriptedEngine) -> Callable[..., ScriptedEngine]:
    """A loader for a pool that gives the engine, and refuses a target named `missing`."""

    def load(key: object, progress: Callable[[str, int, int], None]) -> ScriptedEngine:
        if key.target == "missing":  # type: ignore[attr-defined]
            raise ModelUnavailableError("There is no model named missing; give another name.")
        progress("reading weights", 1, 2)
        return engine

    return load


def _in_turn(
    next_events: Callable[[], Iterator[Event] | None], size: int
) -> Iterator[tuple[int, Event]]:
    """A step of each of at most `size` runs in turn; another begins where there is room and one."""
    indexes = itertools.count()
    members: list[tuple[int, Iterator[Event]]] = []
    while True:
        while len(members) < size and (begun := next_events()) is not None:
            members.append((next(indexes), begun))
        if not members:
            return
        for member in list(members):
            index, events = member
            for event in events:
                yield index, event
                if isinstance(event, Committed):
                    break
            else:
                members.remove(member)
