"""A server that answers over HTTP, such as llama-server or vLLM, as one who is measured."""

from collections.abc import Sequence

from core.attached.engine import AttachedEngine, ServerPrompt
from core.attached.kinds import asked_ids
from core.benchmark.measurement import Answer, Emission
from core.benchmark.runners import Facts
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.modes.server import MODE
from core.runtime.peak_memory import MemoryGauge
from core.trace.events import Committed, Event, RunFailed
from core.trace.file import Trace

INTERFACE = "ids over HTTP, tokens by the server's counts"


class CompletionRunner:
    """Implements `core.benchmark.runners.Runner`."""

    gives_plain_text = False

    def __init__(
        self,
        label: str,
        engine: AttachedEngine,
        config: RunConfig,
        facts: Facts,
        memory: MemoryGauge | None,
    ):
        """`config` is plain decoding's, of which the server takes length and sampling."""
        self.label = label
        self.facts = facts
        self.memory = memory
        self._engine = engine
        self._config = RunConfig(
            mode=MODE,
            target=engine.target,
            max_new_tokens=config.max_new_tokens,
            sampling=config.sampling,
        )

    def answer(self, prompt: Prompt) -> Answer:
        """See `Runner.answer`. The prompt goes as ids, so that no other template meets it."""
        asked = asked_ids(self._engine.server.kind, prompt.token_ids)
        events = list(self._engine.run(ServerPrompt(prompt.text, asked), self._config))
        return answer_of(events)

    def answer_together(self, prompts: Sequence[Prompt], size: int) -> list[Answer]:
        """The answers to several prompts, of which `size` are asked at once."""
        kind = self._engine.server.kind
        runs = [
            (ServerPrompt(prompt.text, asked_ids(kind, prompt.token_ids)), self._config)
            for prompt in prompts
        ]
        events: list[list[Event]] = [[] for _ in prompts]
        for place, event in self._engine.run_batch(runs, size):
            events[place].append(event)
        return [answer_of(own) for own in events]


def answer_of(events: list[Event]) -> Answer:
    """What the events of a server's answer come to."""
    trace = Trace(events)
    failed = trace.first(RunFailed)
    if failed is not None:
        return Answer(error=f"{failed.error}: {failed.message}")
    stats, commits = trace.stats, list(trace.of_kind(Committed))
    if "num_tokens" in stats.in_doubt():
        return Answer(error="the server told no usage figures, by which its tokens are counted")
    counts = [len(event.token_ids) for event in commits]
    if counts and sum(counts) != stats.num_tokens:
        # Pieces of text: the first one counts as one token, and all others come with the last.
        counts = [*[1] * bool(counts[1:]), *[0] * (len(counts) - 2), 0]
        counts[-1] = stats.num_tokens - sum(counts)
    token_ids = trace.token_ids
    return Answer(
        token_ids=[] if -1 in token_ids else token_ids,
        text=trace.text,
        emissions=[
            Emission(event.t_end_s, count) for event, count in zip(commits, counts, strict=True)
        ],
        total_s=events[-1].t_end_s,
        trace=trace,
    )
