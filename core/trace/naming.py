"""Adds to a stream of events the texts of the token ids that they use."""

from collections.abc import Callable, Iterable, Iterator

from core.trace.events import (
    Accepted,
    Committed,
    Drafted,
    Event,
    Proposed,
    RunStarted,
    TokenTexts,
    Verified,
)


def name_tokens(event: Event, named: set[int], text_of: Callable[[int], str]) -> TokenTexts | None:
    """Texts of the ids that `event` uses and `named` lacks, which are added to it."""
    fresh = sorted(_used_ids(event) - named)
    if not fresh:
        return None
    named.update(fresh)
    return TokenTexts(
        step=event.step,
        t_start_s=event.t_start_s,
        t_end_s=event.t_start_s,
        token_ids=fresh,
        texts=[text_of(token_id) for token_id in fresh],
    )


def _used_ids(event: Event) -> set[int]:
    match event:
        case RunStarted():
            return set(event.prefix_token_ids)
        case Proposed():
            return set(event.token_ids)
        case Drafted():
            return set(event.token_ids).union(*event.top_k_token_ids)
        case Verified():
            return set().union(*event.top_k_token_ids)
        case Accepted():
            return set() if event.next_token_id is None else {event.next_token_id}
        case Committed():
            return set(event.token_ids)
    return set()


def with_token_texts(events: Iterable[Event], text_of: Callable[[int], str]) -> Iterator[Event]:
    """The same events, each after the texts that it needs first; a run begins with its start, whose
    texts come behind it."""
    named: set[int] = set()
    for event in events:
        texts = name_tokens(event, named, text_of)
        pair = [event, texts] if isinstance(event, RunStarted) else [texts, event]
        yield from filter(None, pair)
