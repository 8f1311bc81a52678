"""Who looks at something that goes on, and since when nobody does."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

WordT = TypeVar("WordT")

# A page that is loaded anew, or opened again at once, is back within this.
PATIENCE_S = 10.0
GIVEN_UP = "Stopped: nobody watched, and others waited"


class Watchers:
    """Of one run, or of one comparison; entered and asked by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._left_s = time.monotonic()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """While somebody looks."""
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                self._left_s = time.monotonic()

    @property
    def have_left(self) -> bool:
        """Whether nobody has looked for so long that nobody is to be expected."""
        with self._lock:
            return not self._count and time.monotonic() - self._left_s > PATIENCE_S


class Newest(Generic[WordT]):
    """The newest word of something that goes on; told and followed by any thread."""

    def __init__(self, word: WordT):
        self.word = word
        self.watchers = Watchers()
        self._changed = threading.Condition()
        self._version = 0

    def tell(self, word: WordT) -> None:
        """Whoever follows hears of it."""
        with self._changed:
            self.word = word
            self._version += 1
            self._changed.notify_all()

    def follow(self, heartbeat_s: float) -> Iterator[WordT]:
        """The word as it is, then at every change, and without one after so many seconds again."""
        version = -1
        with self.watchers.one_more():
            while True:
                with self._changed:
                    if self._version == version:
                        self._changed.wait(heartbeat_s)
                    version, word = self._version, self.word
                yield word
