"""What a stream of images costs: seconds by stage, bytes, and images that were met before."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T")
Stage = Literal["load", "read", "fetch", "decode", "wait", "network", "compute", "journal", "write"]

_REMEMBERED = 2**20


@dataclass(frozen=True)
class StageTimes:
    """What was measured in some while; a picklable value, so that other processes can tell of theirs.

    Attributes:
        seconds: By stage. ``fetch`` and ``decode`` run in many threads at once and are the sum over them; the
            others are wall time of the thread that runs the network.
        bytes_read: Bytes from storage: Parquet column chunks as stored, and images that paths point at.
        duplicates: Images whose encoded bytes equal those of an earlier one.
        duplicates_complete: Whether that is their number; else there are at least so many.
        recalled: Images that were not computed, since an equal one had been.
    """

    seconds: Mapping[str, float] = field(default_factory=dict, hash=False)
    bytes_read: int = 0
    duplicates: int = 0
    duplicates_complete: bool = True
    recalled: int = 0

    def __add__(self, other: StageTimes) -> StageTimes:
        seconds = {
            stage: self.seconds.get(stage, 0.0) + other.seconds.get(stage, 0.0)
            for stage in {**self.seconds, **other.seconds}
        }
        return StageTimes(
            seconds,
            self.bytes_read + other.bytes_read,
            self.duplicates + other.duplicates,
            self.duplicates_complete and other.duplicates_complete,
            self.recalled + other.recalled,
        )


class Meter:
    """Measures for many threads at once; a few microseconds a row.

    Args:
        duplicates: Count images that were met before, by their digests: 16 MiB at the most.
    """

    def __init__(self, *, duplicates: bool = False) -> None:
        self._lock = threading.Lock()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._bytes = self._duplicates = self._recalled = 0
        self._met = _Met(_REMEMBERED) if duplicates else None

    @contextlib.contextmanager
    def time(self, stage: Stage, share: float = 1.0) -> Iterator[None]:
        """Add the time of the block, or a share of it, to a stage, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - started
            with self._lock:
                self._seconds[stage] += took * share

    def timed(self, stage: Stage, items: Iterable[T]) -> Iterator[T]:
        """The same items; the time that each is waited for is added to a stage."""
        iterator = iter(items)
        while True:
            with self.time(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def read(self, count: int) -> None:
        """Bytes came from storage."""
        with self._lock:
            self._bytes += count

    @property
    def counts_duplicates(self) -> bool:
        """Whether ``image`` wants to be told."""
        return self._met is not None

    def image(self, digest: bytes) -> None:
        """An encoded image of this digest was met."""
        if self._met is not None:
            with self._lock:
                self._duplicates += self._met.before(int.from_bytes(digest[:8], "little"))

    def recalled(self) -> None:
        """An image was not computed, since an equal one had been."""
        with self._lock:
            self._recalled += 1

    def take(self) -> StageTimes:
        """What was measured since it was last taken."""
        with self._lock:
            complete = self._met is None or not self._met.is_full
            measured = StageTimes(dict(self._seconds), self._bytes, self._duplicates, complete, self._recalled)
            self._seconds = defaultdict(float)
            self._bytes = self._duplicates = self._recalled = 0
        return measured


class _Met:
    """The digests that were met: an open hash table of 64-bit numbers, 16 bytes for each that it can hold.

    A set of Python's would take five times as much. Pages of the table that are never touched take no memory.
    """

    def __init__(self, limit: int) -> None:
        self._table = np.zeros(2 * limit, np.uint64).data
        self._free = limit

    @property
    def is_full(self) -> bool:
        """Whether some digests could not be remembered, so that others like them go unnoticed."""
        return self._free < 0

    def before(self, digest: int) -> bool:
        """Whether a digest was met before; remembers it where there is room."""
        table, slots = self._table, len(self._table)
        digest = digest or 1  # 0 is an empty slot
        slot = digest % slots
        while (held := table[slot]) not in (0, digest):
            slot = (slot + 1) % slots
        if held:
            return True
        if self._free > 0:
            table[slot] = digest
        self._free = max(self._free - 1, -1)
        return False
