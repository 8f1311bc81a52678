"""A place for one engine: loads into it, says what it does, and frees the old engine first."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from app.engines.chat import Chat
from core.config import RunConfig
from core.decoding.joining import JoiningRun
from core.drafters.suffix_memory import SuffixMemory
from core.errors import ModelUnavailableError, SpecDecodesError
from core.trace.events import Event
from core.trace.fork import Fork


class EngineLike(Protocol):
    """What the page needs of `core.engine.Engine`, here or in a process of its own."""

    @property
    def is_usable(self) -> bool:
        """False once its GPU or its process is lost."""
        ...

    def chat_prompt(self, messages: list[dict[str, str]]) -> Any:
        """What `run` takes; only the engine looks inside."""
        ...

    def raw_prompt(self, text: str) -> Any:
        """The same for a text that is continued as it is."""
        ...

    def token_prompt(self, token_ids: list[int]) -> Any:
        """The same for token ids."""
        ...

    def fork_prompt(self, fork: Fork) -> Any:
        """The same for a branch of another run."""
        ...

    def unavailable_reason(self, mode: str, draft: str | None = None) -> str | None: ...

    def run(
        self,
        prompt: Any,
        config: RunConfig,
        *,
        memory: SuffixMemory | None = None,
        should_stop: Callable[[], bool],
    ) -> Iterator[Event]: ...

    def profile(
        self, prompt: Any, config: RunConfig, *, should_stop: Callable[[], bool]
    ) -> Iterator[Event]: ...

    def run_batch(
        self,
        runs: Sequence[tuple[Any, RunConfig]],
        size: int,
        *,
        memory: SuffixMemory | None = None,
        should_stop: Callable[[], bool],
    ) -> Iterator[tuple[int, Event]]: ...

    def run_joining(
        self, next_run: Callable[[], JoiningRun | None], size: int
    ) -> Iterator[tuple[int, Event]]: ...


def prompt_of(engine: EngineLike, chat: Chat) -> Any:
    """What the engine runs for a chat, a plain text, token ids, or a branch."""
    if isinstance(chat, Fork):
        return engine.fork_prompt(chat)
    if isinstance(chat, str):
        return engine.raw_prompt(chat)
    messages = [part for part in chat if not isinstance(part, int)]
    if messages:
        return engine.chat_prompt(messages)
    return engine.token_prompt([part for part in chat if isinstance(part, int)])


class EngineKey(NamedTuple):
    """What decides whether a loaded engine can serve a run."""

    target: str
    dtype: str | None
    weights: str | None = None
    compile: bool | None = None


class PoolStatus(NamedTuple):
    """What the page says of the models: one sentence and, while loading, how far it is."""

    phase: Literal["empty", "loading", "ready", "failed"]
    text: str
    done: int = 0
    total: int = 0
    failure: str = ""
    """Why the latest load failed, also where another model is ready."""


Progress = Callable[[str, int, int], None]
LoadEngine = Callable[[EngineKey, Progress], EngineLike]


class EngineSlot:
    """Used by one run at a time; its status is read by anybody."""

    def __init__(self, load: LoadEngine):
        self._load = load
        self._engine: EngineLike | None = None
        self._listener: Progress | None = None
        self._is_cancelled = threading.Event()
        self.key: EngineKey | None = None
        self.was_refused = False
        """Whether the last load failed for what was asked of it, not for this machine."""
        self.status = PoolStatus("empty", "No model is loaded yet.")

    @property
    def loaded(self) -> EngineLike | None:
        """The engine, where there is one that can be used."""
        engine = self._engine
        return engine if engine is not None and engine.is_usable else None

    def engine(self, key: EngineKey, listener: Progress | None = None) -> EngineLike:
        """The engine for a key, loaded where needed.

        `listener` hears of the loading, and later of what the engine prepares for a run.
        """
        self._listener = listener
        engine = self.loaded
        if engine is not None and self.key == key:
            return engine
        engine = self._engine = None  # frees the old weights before the new ones come
        self.key = key
        self._is_cancelled.clear()
        self.was_refused = False
        self._report("loading", 0, 0)
        try:
            engine = self._load(key, self._report)
        except SpecDecodesError as error:
            self.was_refused = True
            self.status = PoolStatus("failed", str(error))
            raise
        except Exception as error:
            self.status = PoolStatus("failed", f"{key.target} could not be loaded: {error}")
            raise
        self._engine = engine
        self.show_ready()
        return engine

    def show_ready(self) -> None:
        """Says that nothing is being prepared any more."""
        if self.loaded is not None and self.key is not None:
            self.status = PoolStatus("ready", f"{self.key.target} is ready.")

    def cancel(self) -> None:
        """Ends what is being loaded or prepared, at its next report of progress."""
        if self.status.phase == "loading":
            self._is_cancelled.set()

    def _report(self, stage: str, done: int, total: int) -> None:
        assert self.key is not None
        if self._is_cancelled.is_set():
            self._is_cancelled.clear()
            raise ModelUnavailableError("Loading was cancelled; ask or load again.")
        self.status = PoolStatus("loading", f"{self.key.target}: {stage}", done, total)
        if self._listener is not None:
            self._listener(stage, done, total)
