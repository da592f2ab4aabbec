"""The memory that loading images may use: two budgets of bytes that all loading threads share."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections import deque
from typing import Self

_LARGE = 16 * 2**20
_RETURNED = 4 * 2**20
_M_MMAP_THRESHOLD = -3  # of malloc.h in glibc


class ByteBudget:
    """Bytes that threads reserve, up to a limit together. A request for more than the limit is served alone.

    Requests are served in their order, so that a large one does not wait for ever while small ones come.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reserved = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def take(self, amount: int) -> None:
        """Wait until so many bytes are free, and reserve them."""
        if amount >= _LARGE:
            return_freed_memory()
        request = object()
        with self._changed:
            self._waiting.append(request)
            try:
                self._changed.wait_for(
                    lambda: (
                        self._waiting[0] is request and (self._reserved == 0 or self._reserved + amount <= self._limit)
                    )
                )
                self._reserved += amount
            finally:
                self._waiting.remove(request)
                self._changed.notify_all()  # the next request may fit, too

    def release(self, amount: int) -> None:
        """Give reserved bytes back, after what was in them is freed."""
        with self._changed:
            self._reserved -= amount
            self._changed.notify_all()


class Memory:
    """What loading may use: half for encoded images, half for decoded ones.

    A thread that needs both takes of ``encoded`` first. A thread that has taken of ``decoded`` does not wait for
    anything, so no two threads can wait for each other.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.encoded = ByteBudget(limit // 2)
        self.decoded = ByteBudget(limit - limit // 2)


class Reservation:
    """The bytes of a budget that one image has reserved, until the end of a ``with`` block.

    Args:
        budget: The budget.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._budget, self._amount = budget, 0

    def acquire(self, amount: int) -> None:
        """Have at least so many bytes reserved.

        It may wait. If fewer are reserved, they are given back first, so that no two images wait for each other.
        """
        if amount > self._amount:
            self._release()
            self._budget.take(amount)
            self._amount = amount

    def _release(self) -> None:
        if self._amount:
            self._budget.release(self._amount)
            self._amount = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._release()


@functools.cache
def return_freed_memory() -> None:
    """From now on, make this process return freed blocks of 4 MiB and more to the system.

    glibc would keep up to 64 MiB for each thread, so that memory that a budget has back would still belong to the
    process; ``malloc_trim`` does not reach the top of a thread's arena. It is called for the first large image only,
    since it also makes the network's own arrays use fresh pages each time. A threshold that is set in the environment
    is not changed. Without glibc this does nothing.
    """
    is_set = os.environ.get("MALLOC_MMAP_THRESHOLD_") or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    if not is_set and sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _RETURNED)
