"""The items of a source as they come, without waiting for the next where a thread reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

from emotion_ops.images.meter import Meter

T = TypeVar("T")


class Reading(Generic[T]):
    """The items of a source, one by one.

    Args:
        source: Items; none of them is None.
        meter: Told how long an item was waited for in ``take``.
        events: Where a thread of its own pulls them, one ahead: what is put there, and does nothing, tells that the
            next is there or that there is none. None has the caller's thread pull.

    Attributes:
        ended: Whether ``take`` has found the end.
    """

    def __init__(self, source: Iterable[T], meter: Meter, events: SimpleQueue[Callable[[], None]] | None) -> None:
        self._source, self._meter, self._events = iter(source), meter, events
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="emotion-ops-read") if events is not None else None
        self._coming: Future[T | None] | None = None
        self.ended = False
        self._read_on()

    @property
    def is_coming(self) -> bool:
        """Whether a thread reads the next."""
        return self._coming is not None and not self._coming.done()

    def take(self) -> T | None:
        """The next item; None where it is not there yet, and at the end. What the source raises, this raises."""
        if self._coming is None:
            with self._meter.time("read"):
                item = next(self._source, None)
        elif self.is_coming:
            return None
        else:
            item = self._coming.result()
            self._read_on()
        self.ended = item is None
        return item

    def end(self) -> None:
        """Read no further; an item that is being read is waited for."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _read_on(self) -> None:
        if self._thread is not None and self._events is not None:
            events = self._events
            self._coming = self._thread.submit(next, self._source, None)
            self._coming.add_done_callback(lambda _: events.put(_nothing))


def _nothing() -> None:
    """What there is to do when an item has come: the stream takes it as soon as it has room."""
