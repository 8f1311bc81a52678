"""The stream of a server as the events of a run: steps as far as they can be told apart."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from core.attached.chunks import Chunk, StepCounters, read_chunk
from core.attached.event_stream import StreamError
from core.attached.totals import told_totals
from core.trace.events import (
    Committed,
    Event,
    FinishReason,
    Observed,
    Prefilled,
    ServerTotals,
    StepBorder,
    TokenSource,
    TokenTexts,
)
from core.trace.stats import RunStats

_NO_ID = -1
# What servers call the ends of an answer.
_ENDS: dict[str, Literal["eos", "length"]] = {
    "stop": "eos",
    "eos": "eos",
    "length": "length",
    "limit": "length",
}
_START = StepCounters(0.0, 0, 0)


@dataclass
class _Step:
    """Tokens that belong together, as they come."""

    counters: StepCounters | None
    token_ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    target_probs: list[float] = field(default_factory=list)
    has_texts: bool = True
    """Whether each token has the text that is its own."""


class StreamReader:
    """Takes the events of one answer in order, each with the seconds since it was asked for."""

    def __init__(self, prompt_token_ids: list[int], speculates: bool | None, max_new_tokens: int):
        """`speculates` is whether the server drafts, as far as it says so."""
        self.stats = RunStats()
        self.tail_text = ""
        """Text that came without a token, for the next one, or for the end."""
        self._num_prompt_tokens = len(prompt_token_ids) or None
        self._speculates = speculates
        self._max_new_tokens = max_new_tokens
        self._named: set[int] = set()
        self._open: _Step | None = None
        self._before = _START
        self._count = 0
        self._is_counted: bool | None = None
        self._now_s = 0.0
        self._end_s = 0.0
        self._finish: str | None = None
        self._chunk_sizes: list[int] = []
        self._fields: list[str] = []
        self._told: dict[str, Any] = {}

    def add(self, event: dict[str, Any], t_s: float) -> Iterator[Event]:
        """What an event of the stream shows; raises StreamError for one that cannot be."""
        for made in self._read(event, t_s):
            self.stats.add(made)
            yield made

    def finish(self, t_s: float, *, is_whole: bool) -> Iterator[Event]:
        """The step that is open, and the server's own totals where the stream came to its end."""
        for made in self._end(t_s, is_whole):
            self.stats.add(made)
            yield made

    def reason(self) -> FinishReason:
        """Why the answer ended; raises StreamError where the server did not say it, or says what is no
        end of an answer."""
        if self._finish is None:
            raise StreamError("the server ended its answer without saying why")
        if self._finish not in _ENDS:
            raise StreamError(f"the server ended its answer for {self._finish[:40]!r}")
        reason: FinishReason = _ENDS[self._finish]
        is_early = self.stats.num_tokens < self._max_new_tokens
        if reason == "length" and is_early and "num_tokens" not in self.stats.in_doubt():
            return "context"
        return reason

    def _read(self, event: dict[str, Any], t_s: float) -> Iterator[Event]:
        told = told_totals(event)
        if told.totals:
            self._fields = list(dict.fromkeys([*self._fields, *told.fields]))
            self._told |= told.totals
        chunk = read_chunk(event)
        self._finish = chunk.finish or self._finish
        self._check_prompt(chunk)
        num_new = self._num_new(chunk)
        chunk = chunk._replace(text=self.tail_text + chunk.text)
        self.tail_text = ""
        if num_new == 0:
            self.tail_text = chunk.text
            return
        if self._is_counted is None:
            self._is_counted = num_new is not None
            yield self._prefilled(chunk, t_s)
        if self._open is not None and chunk.counters != self._open.counters:
            yield from self._close(self._now_s)
        if self._open is None:
            self._open = _Step(chunk.counters)
        self._now_s = t_s
        self._append(self._open, chunk, num_new)
        if self._is_complete(self._open):
            yield from self._close(t_s)

    def _check_prompt(self, chunk: Chunk) -> None:
        if chunk.num_prompt_tokens is None:
            return
        if self._num_prompt_tokens not in (None, chunk.num_prompt_tokens):
            raise StreamError(
                f"the server read {chunk.num_prompt_tokens} prompt tokens, and "
                f"{self._num_prompt_tokens} were given"
            )
        self._num_prompt_tokens = chunk.num_prompt_tokens

    def _num_new(self, chunk: Chunk) -> int | None:
        """Tokens of a chunk; None for a text of which it is not told, and 0 for no text and no token."""
        if chunk.num_so_far is not None and self._is_counted is not False:
            is_first_usage = self._is_counted is None and not (chunk.text or chunk.token_ids)
            if not is_first_usage:
                return max(0, chunk.num_so_far - self._count)
        if chunk.token_ids:
            return len(chunk.token_ids)
        return None if chunk.text else 0

    def _prefilled(self, chunk: Chunk, t_s: float) -> Prefilled:
        known, cached = self._num_prompt_tokens, chunk.num_cached_tokens
        return Prefilled(
            step=0,
            t_start_s=0.0,
            t_end_s=t_s,
            # As our own engine counts: the last token of the prompt belongs to the first step.
            num_tokens=None if known is None else max(0, known - 1 - (cached or 0)),
            num_reused=cached,
            cache_length=None if known is None else known - 1,
        )

    def _append(self, step: _Step, chunk: Chunk, num_new: int | None) -> None:
        count = 1 if num_new is None else num_new
        self._count += count
        # Ids that are not told are those of tokens before, whose text waited for a whole character.
        num_untold = count - len(chunk.token_ids)
        if num_untold < 0:
            raise StreamError(
                f"the server counts {count} tokens and tells {len(chunk.token_ids)} ids"
            )
        step.token_ids += [_NO_ID] * num_untold + chunk.token_ids
        texts = _texts_of(chunk, count)
        step.has_texts &= texts is not None
        step.texts += texts or [chunk.text, *[""] * (count - 1)]
        step.target_probs += chunk.target_probs

    def _is_complete(self, step: _Step) -> bool:
        """Whether nothing more can come to it: else only the next step tells, as where tokens of an
        earlier one came with it."""
        if step.counters is None:
            return True
        if _NO_ID in step.token_ids:
            return False
        num_accepted = step.counters.num_accepted - self._before.num_accepted
        return len(step.token_ids) > num_accepted

    def _close(self, t_s: float) -> Iterator[Event]:
        step, self._open = self._open, None
        assert step is not None, "a step is open"
        self._chunk_sizes.append(len(step.token_ids))
        number = self.stats.num_steps + 1
        start_s = max(self._end_s, 0.0)
        with_prompt = number == 1
        observed = self._observed(step, number, start_s, t_s, with_prompt=with_prompt)
        step_s = 0.0 if with_prompt else t_s - start_s
        if step.counters is not None:
            step_s = max(0.0, step.counters.later_s - self._before.later_s)
            self._before = step.counters
        names = self._names(step, number, t_s)
        if names is not None:
            yield names
        yield observed
        yield Committed(
            step=number,
            t_start_s=t_s,
            t_end_s=t_s,
            token_ids=step.token_ids,
            texts=step.texts,
            sources=self._sources(observed, len(step.token_ids)),
            nodes=[-1] * len(step.token_ids),
            cache_length=None,
            step_s=step_s,
        )
        self._end_s = t_s

    def _observed(
        self, step: _Step, number: int, start_s: float, t_s: float, *, with_prompt: bool
    ) -> Observed:
        num_tokens = len(step.token_ids) if self._is_counted else None
        border: StepBorder = "chunk" if self._is_counted else "none"
        num_steps = 1
        numbers: tuple[int | None, int | None, int | None] = (None, None, None)
        if step.counters is not None:
            border = "counters"
            drafted = step.counters.num_drafted - self._before.num_drafted
            accepted = step.counters.num_accepted - self._before.num_accepted
            if not 0 <= accepted <= drafted:
                raise StreamError(f"the server accepted {accepted} of {drafted} drafted tokens")
            # Text that is no whole character is held back, and tokens of several steps come together.
            # Each emits what it accepts and a token of its own.
            num_forwards = self._count - step.counters.num_accepted
            num_steps = max(1, num_forwards - self.stats.num_steps)
            # A chain is judged until the first refusal.
            tested = min(drafted, accepted + 1) if num_steps == 1 or drafted == 0 else None
            numbers = drafted, tested, accepted
        elif self._speculates is False:
            # Each of its forwards gives one token, whichever of them came together.
            numbers = 0, 0, 0
            if num_tokens is not None:
                border, num_steps = "counters", num_tokens
        elif with_prompt and num_tokens == 1:
            numbers = 0, 0, 0
        return Observed(
            step=number,
            t_start_s=start_s,
            t_end_s=t_s,
            border=border,
            num_tokens=num_tokens,
            num_steps=num_steps,
            num_drafted=numbers[0],
            num_tested=numbers[1],
            num_accepted=numbers[2],
            with_prompt=with_prompt,
            target_probs=self._probs(step) if num_tokens else [],
        )

    def _sources(self, observed: Observed, count: int) -> list[TokenSource]:
        """Where the tokens come from, as far as it is certain, or each chunk a step."""
        drafted, accepted = observed.num_drafted, observed.num_accepted
        if drafted == 0:
            return ["plain"] * count
        is_mixed = observed.num_steps > 1
        if observed.num_tokens is None or is_mixed or (accepted is None and not self._speculates):
            return ["untold"] * count
        if drafted is None or accepted is None:
            return [*["accepted"] * (count - 1), "untold"]  # type: ignore[list-item]
        last: TokenSource = "bonus" if accepted == drafted else "recovered"
        kept = min(accepted, count)
        return [*["accepted"] * kept, *[last] * (count - kept)]  # type: ignore[list-item]

    @staticmethod
    def _probs(step: _Step) -> list[float]:
        return step.target_probs if len(step.target_probs) == len(step.token_ids) else []

    def _names(self, step: _Step, number: int, t_s: float) -> TokenTexts | None:
        """The texts of ids that come for the first time, where each stands by itself."""
        pairs = zip(step.token_ids, step.texts, strict=True) if step.has_texts else ()
        known = {_NO_ID, *self._named}
        fresh = {token_id: text for token_id, text in pairs if text and token_id not in known}
        if not fresh:
            return None
        self._named.update(fresh)
        return TokenTexts(
            step=number,
            t_start_s=t_s,
            t_end_s=t_s,
            token_ids=list(fresh),
            texts=list(fresh.values()),
        )

    def _end(self, t_s: float, is_whole: bool) -> Iterator[Event]:
        if self._open is not None:
            yield from self._close(self._now_s)
        if is_whole and self._told:
            yield self._totals(t_s)

    def tell(self, fields: list[str], totals: dict[str, Any]) -> None:
        """Totals that the server told elsewhere, of what its answer did not tell."""
        fresh = {name: value for name, value in totals.items() if name not in self._told}
        if fresh:
            self._fields += fields
            self._told |= fresh

    @property
    def told(self) -> dict[str, Any]:
        """The server's own totals so far."""
        return self._told

    def _totals(self, t_s: float) -> ServerTotals:
        if self._told.get("num_drafted") == 0:
            self._told["num_tested"] = 0
        known = {**self.stats.to_dict(), "num_prompt_tokens": self._num_prompt_tokens}
        seen = {
            name: known[name]
            for name in self._told
            if known.get(name) is not None and name not in self.stats.origins
        }
        return ServerTotals(
            step=self.stats.num_steps,
            t_start_s=t_s,
            t_end_s=t_s,
            fields=self._fields,
            told=self._told,
            seen=seen,
            confirms_steps=self._is_counted is True
            and _fits(self._chunk_sizes[1:], self._told.get("accepted_histogram")),
        )


def _texts_of(chunk: Chunk, count: int) -> list[str] | None:
    """The text of each token of a chunk; None where it is not told which has which part."""
    if "".join(chunk.token_texts) == chunk.text and len(chunk.token_texts) == count:
        return chunk.token_texts
    if count == 1:
        return [chunk.text]
    if len(chunk.token_ids) == 1:
        # Those before it waited for a whole character, whose text comes with its last token.
        return [*[""] * (count - 1), chunk.text]
    return None


def _fits(sizes: list[int], histogram: list[int] | None) -> bool:
    """Whether chunks of these sizes, the prompt's apart, are steps that accepted so many tokens.

    Only steps that accepted some are told apart from those without a draft, and the end may have cut the
    last one short.
    """
    if histogram is None or not sizes:
        return False
    wanted = Counter({kept + 1: num for kept, num in enumerate(histogram) if kept and num})
    whole = Counter(size for size in sizes[:-1] if size > 1)
    rest = wanted - whole
    is_last = sum(rest.values()) <= 1 and all(size >= sizes[-1] for size in rest)
    return not whole - wanted and (is_last if rest else sizes[-1] == 1)
