"""Calling off work that other threads wait for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class StoppedError(Exception):
    """The work was called off."""


class Stop:
    """Call it to end what other threads do in its ``calls`` blocks, now and later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._called = False
        self._interrupts: list[Callable[[], None]] = []

    def __call__(self) -> None:
        """Stop, for good."""
        with self._lock:
            self._called = True
            for interrupt in self._interrupts:
                interrupt()

    def check(self) -> None:
        """Raise ``StoppedError`` if it was called."""
        if self._called:
            raise StoppedError

    @contextlib.contextmanager
    def calls(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Call ``interrupt`` if it is stopped during the block.

        Raises:
            StoppedError: It was stopped, before or during the block; whatever the block returned or raised.
        """
        with self._lock:
            self.check()
            self._interrupts.append(interrupt)
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.remove(interrupt)
                self.check()
