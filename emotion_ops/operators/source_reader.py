"""Reads a source one item after the other, in the caller's thread or one item ahead in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

from emotion_ops.images.meter import Meter

T = TypeVar("T")

_STOP_SECONDS = 1.0
"""How long ``stop`` waits for a read that is under way. A store may hang, and Ctrl-C must work all the same."""


class SourceReader(Generic[T]):
    """The items of a source, one by one.

    Args:
        source: Items; none of them is None.
        meter: Measures how long ``take`` waits for an item.
        events: If given, a thread reads one item ahead. When it has read the item, or found the end, it puts a function
            here that does nothing, which wakes a stream that waits for events. None: the caller of ``take`` reads.

    Attributes:
        ended: Whether ``take`` has found the end of the source.
    """

    def __init__(self, source: Iterable[T], meter: Meter, events: SimpleQueue[Callable[[], None]] | None) -> None:
        self._source, self._meter, self._events = iter(source), meter, events
        self._thread: threading.Thread | None = None
        self._next: Future[T | None] | None = None
        self.ended = False
        if events is not None:
            self._start_reading()

    @property
    def is_reading(self) -> bool:
        """Whether a thread reads the next item now."""
        return self._next is not None and not self._next.done()

    def take(self) -> T | None:
        """The next item. None at the end, and while a thread still reads it. What the source raises is raised here."""
        if self._events is None:
            with self._meter.time("read"):
                item = next(self._source, None)
        elif self._next is None or self.is_reading:
            return None
        else:
            found, self._next = self._next, None
            try:
                item = found.result()
            finally:
                del found  # an error refers to this frame, and would keep itself in memory through it
            if item is not None:
                self._start_reading()
        self.ended = item is None
        return item

    def stop(self) -> None:
        """Stop reading. If a read hangs, its thread is left alone: it ends after the read, or with the process."""
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def _start_reading(self) -> None:
        self._next = Future()
        # not an executor: Python waits for an executor's threads before it exits
        self._thread = threading.Thread(target=self._read, args=(self._next,), name="emotion-ops-read", daemon=True)
        self._thread.start()

    def _read(self, result: Future[T | None]) -> None:
        try:
            result.set_result(next(self._source, None))
        except BaseException as error:  # ``take`` raises it, whatever it is
            result.set_exception(error)
        del result  # as in ``take``
        assert self._events is not None
        self._events.put(_no_op)


def _no_op() -> None:
    """Taking the item is left to the stream, which does so as soon as it has room."""
