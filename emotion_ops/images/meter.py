"""What a stream costs: seconds by stage, bytes from storage, and rows that were not computed again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

T = TypeVar("T")
Stage = Literal["load", "read", "prepare", "fetch", "decode", "wait", "network", "compute", "journal", "write"]


@dataclass(frozen=True)
class StageTimes:
    """What was measured; a picklable value, so that other processes can report theirs.

    Attributes:
        seconds: By stage. ``prepare`` and its parts ``fetch`` and ``decode`` run in many threads at the same time and
            are the sum over them; ``compute`` overlaps with the others; the rest is wall time of the thread that runs
            the stream.
        bytes_read: Bytes from storage: Parquet column chunks as stored, and images that paths refer to.
        cached: Rows that were not computed, because an equal input had been.
    """

    seconds: Mapping[str, float] = field(default_factory=dict, hash=False)
    bytes_read: int = 0
    cached: int = 0

    def __add__(self, other: StageTimes) -> StageTimes:
        seconds = {
            stage: self.seconds.get(stage, 0.0) + other.seconds.get(stage, 0.0)
            for stage in {**self.seconds, **other.seconds}
        }
        return StageTimes(seconds, self.bytes_read + other.bytes_read, self.cached + other.cached)


class Meter:
    """Measures for many threads at the same time; takes a few microseconds for each row."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._bytes = self._cached = 0

    @contextlib.contextmanager
    def time(self, stage: Stage, share: float = 1.0) -> Iterator[None]:
        """Add the time of the block, or a share of it, to a stage, also if it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - started
            with self._lock:
                self._seconds[stage] += took * share

    def timed(self, stage: Stage, items: Iterable[T]) -> Iterator[T]:
        """The same items; the time of waiting for each is added to a stage."""
        iterator = iter(items)
        while True:
            with self.time(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def read(self, count: int) -> None:
        """Count bytes from storage."""
        with self._lock:
            self._bytes += count

    def add_cached(self) -> None:
        """Count a row that was not computed, because an equal input had been."""
        with self._lock:
            self._cached += 1

    def take(self) -> StageTimes:
        """What was measured since this was called last."""
        with self._lock:
            measured = StageTimes(dict(self._seconds), self._bytes, self._cached)
            self._seconds = defaultdict(float)
            self._bytes = self._cached = 0
        return measured
