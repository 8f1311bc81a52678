"""Loaded engines and the one queue for them. Models load on the thread that holds the turn."""

import threading
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

from app.turnstile import Turnstile
from core.config import RunConfig
from core.errors import ModelUnavailableError, SpecDecodesError
from core.events import Event


class PromptLike(Protocol):
    """What an engine makes of messages; only the engine looks inside."""

    @property
    def token_ids(self) -> list[int]: ...


class EngineLike(Protocol):
    """What the page needs of `core.engine.Engine`; tests bring a scripted one."""

    def chat_prompt(self, messages: list[dict[str, str]]) -> PromptLike: ...

    def unavailable_reason(self, mode: str, draft: str | None = None) -> str | None: ...

    def run(
        self, prompt: PromptLike, config: RunConfig, *, should_stop: Callable[[], bool]
    ) -> Iterator[Event]: ...


class EngineKey(NamedTuple):
    """What decides whether a loaded engine can serve a run."""

    target: str
    dtype: str | None
    weights: str = "full"
    compile: bool | None = None


Progress = Callable[[str, int, int], None]
LoadEngine = Callable[[EngineKey, Progress], EngineLike]


class PoolStatus(NamedTuple):
    """What the page says of the models: one sentence and, while loading, how far it is."""

    phase: Literal["empty", "loading", "ready", "failed"]
    text: str
    done: int = 0
    total: int = 0


class ModelPool:
    """Holds one engine at a time; loading another one frees it."""

    def __init__(self, load: LoadEngine):
        self._load = load
        self._key: EngineKey | None = None
        self._engine: EngineLike | None = None
        self._listener: Progress | None = None
        self._is_cancelled = False
        self.turnstile = Turnstile()
        self.status = PoolStatus("empty", "No model is loaded yet.")

    def preload(self, key: EngineKey) -> threading.Thread:
        """Starts loading in the background; a failure is kept as the status."""
        ticket = self.turnstile.join()
        self.status = PoolStatus("loading", f"{key.target}: starting")

        def load_in_turn() -> None:
            try:
                ticket.wait(threading.TIMEOUT_MAX)
                self.engine(key)
            except Exception:  # the status has the sentence, and the next run tries again
                return
            finally:
                ticket.leave()

        thread = threading.Thread(target=load_in_turn, name="preload", daemon=True)
        thread.start()
        return thread

    def engine(self, key: EngineKey, listener: Progress | None = None) -> EngineLike:
        """The engine for a key, loaded where needed. Call it only while holding the turn.

        `listener` hears of the loading, and later of what the engine prepares for a run.
        """
        self._listener = listener
        if self._engine is not None and self._key == key:
            return self._engine
        self._engine = None  # frees the old weights before the new ones come
        self._key = key
        self._is_cancelled = False
        self._report("loading", 0, 0)
        try:
            engine = self._load(key, self._report)
        except SpecDecodesError as error:
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
        if self._engine is not None and self._key is not None:
            self.status = PoolStatus("ready", f"{self._key.target} is ready.")

    def cancel(self) -> None:
        """Ends what is being loaded or prepared, at its next report of progress."""
        self._is_cancelled = self.status.phase == "loading"

    def _report(self, stage: str, done: int, total: int) -> None:
        assert self._key is not None
        if self._is_cancelled:
            self._is_cancelled = False
            raise ModelUnavailableError("Loading was cancelled; ask or load again.")
        self.status = PoolStatus("loading", f"{self._key.target}: {stage}", done, total)
        if self._listener is not None:
            self._listener(stage, done, total)

    @property
    def target(self) -> str | None:
        """The name of the loaded target."""
        return self._key.target if self._engine is not None and self._key is not None else None

    def unavailable_reason(self, mode: str, draft: str | None) -> str | None:
        """Why the loaded target cannot run a mode; None where it can or nothing is loaded."""
        engine = self._engine
        return None if engine is None else engine.unavailable_reason(mode, draft)
