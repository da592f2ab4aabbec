"""The peak of this process's resident memory."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

_INTERVAL = 0.005  # seconds between two samples


class PeakMemory:
    """Samples the resident memory during a ``with`` block.

    Attributes:
        added: The largest resident size in the block minus the resident size before it, in bytes.
    """

    def __init__(self) -> None:
        self.added = 0
        self._process = psutil.Process()
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample)

    def __enter__(self) -> PeakMemory:
        self._before = self._process.memory_info().rss
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self.added = max(self.added, self._process.memory_info().rss - self._before)
