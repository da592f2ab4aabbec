"""The items of a source as they come, without waiting for the next where a thread reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

from emotion_ops.images.meter import Meter

T = TypeVar("T")

_PATIENCE = 1.0  # seconds that the end waits for a read that is under way: a store may hang, and Ctrl-C must not


class Reading(Generic[T]):
    """The items of a source, one by one.

    Args:
        source: Items; none of them is None.
        meter: Told how long an item was waited for in ``take``.
        events: Where a thread pulls them, one ahead: what is put there, and does nothing, tells that the next is there
            or that there is none. None has the caller's thread pull.

    Attributes:
        ended: Whether ``take`` has found the end.
    """

    def __init__(self, source: Iterable[T], meter: Meter, events: SimpleQueue[Callable[[], None]] | None) -> None:
        self._source, self._meter, self._events = iter(source), meter, events
        self._thread: threading.Thread | None = None
        self._coming: Future[T | None] | None = None
        self.ended = False
        if events is not None:
            self._read_on()

    @property
    def is_coming(self) -> bool:
        """Whether a thread reads the next."""
        return self._coming is not None and not self._coming.done()

    def take(self) -> T | None:
        """The next item; None where it is not there yet, and at the end. What the source raises, this raises."""
        if self._events is None:
            with self._meter.time("read"):
                item = next(self._source, None)
        elif self._coming is None or self.is_coming:
            return None
        else:
            coming, self._coming = self._coming, None
            try:
                item = coming.result()
            finally:
                del coming  # an error holds this frame, and would hold itself
            if item is not None:
                self._read_on()
        self.ended = item is None
        return item

    def end(self) -> None:
        """Read no further. A read that hangs is left to its thread, which ends with it or with the process."""
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _read_on(self) -> None:
        self._coming = Future()
        # no executor's: the interpreter would wait for its threads at the exit
        self._thread = threading.Thread(target=self._read, args=(self._coming,), name="emotion-ops-read", daemon=True)
        self._thread.start()

    def _read(self, coming: Future[T | None]) -> None:
        try:
            coming.set_result(next(self._source, None))
        except BaseException as error:  # whatever it is, it is the caller's to hear
            coming.set_exception(error)
        del coming  # as above
        assert self._events is not None
        self._events.put(_nothing)


def _nothing() -> None:
    """What there is to do when an item has come: the stream takes it as soon as it has room."""
