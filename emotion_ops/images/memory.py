"""The memory that loading images may fill: two budgets in bytes that all loading threads share."""

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
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


class ByteBudget:
    """Bytes that threads hold together, up to a limit; one that needs more than all of it goes alone.

    They are served in the order in which they came, lest a large one wait for as long as small ones come.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def take(self, amount: int) -> None:
        """Wait until so many bytes are free, and hold them."""
        if amount >= _LARGE:
            free_at_once()
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                self._changed.wait_for(
                    lambda: self._waiting[0] is turn and (self._held == 0 or self._held + amount <= self._limit)
                )
                self._held += amount
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()  # the next one may fit, too

    def release(self, amount: int) -> None:
        """Hold so many bytes no more; what was in them has been freed."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()


class Memory:
    """What loading may fill: half for encoded images, half for decoded ones.

    Who holds of both takes of ``encoded`` first. Nobody who holds of ``decoded`` waits for anything, hence no two
    can wait for each other.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.encoded = ByteBudget(limit // 2)
        self.decoded = ByteBudget(limit - limit // 2)


class Room:
    """What one image holds of a budget, for the length of a ``with`` block.

    Args:
        budget: The budget.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._budget, self._held = budget, 0

    def need(self, amount: int) -> None:
        """Hold so many bytes; may wait, and lets go of fewer first, lest two wait for what the other holds."""
        if amount > self._held:
            self._let_go()
            self._budget.take(amount)
            self._held = amount

    def _let_go(self) -> None:
        if self._held:
            self._budget.release(self._held)
            self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._let_go()


@functools.cache
def free_at_once() -> None:
    """Have freed memory of 4 MiB and more go back to the system, in this process, from now on.

    glibc would keep up to 64 MiB for each thread, so that what a budget has back is the process's still, and
    ``malloc_trim`` does not reach what lies on top of a thread's arena. Called when the first large image is met,
    since the pages of the network's own arrays are then fresh each time, too. Who has set a threshold in the
    environment keeps it; elsewhere than on glibc this does nothing.
    """
    chosen = os.environ.get("MALLOC_MMAP_THRESHOLD_") or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    if not chosen and sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _RETURNED)
