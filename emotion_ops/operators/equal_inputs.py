"""Rows of equal input in one stream: one of them is computed, the others get its result."""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

from emotion_ops.operators.in_flight import RowInFlight
from emotion_ops.operators.result_cache import ResultCache

T = TypeVar("T")


class EqualInputs(Generic[T]):
    """Finds results of equal inputs: those in a cache, and those that another row of the stream computes.

    Args:
        cache: Results of inputs that were computed before.

    Attributes:
        waiting: Rows that wait for the result of another row.
        waiting_bytes: Bytes of their inputs.
    """

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._owners: dict[bytes, RowInFlight[T]] = {}  # the row that computes the result of an input, by its digest
        self.waiting = self.waiting_bytes = 0

    def is_known(self, row: RowInFlight[T], digest: bytes) -> bool:
        """Whether the result of a row's input is known, or another row computes it. Called in threads."""
        with self._lock:
            row.digest, row.known_result = digest, self._cache.get(digest)
            return row.known_result is not None or self._owners.setdefault(digest, row) is not row

    def wait(self, row: RowInFlight[T]) -> bool:
        """Have a row wait for the row that computes its result. False: none does so any more."""
        assert row.digest is not None
        owner = self._owners.get(row.digest)
        if owner is None:
            return False
        owner.followers.append(row)
        row.is_prepared = owner.is_prepared
        self.waiting += 1
        self.waiting_bytes += row.nbytes
        return True

    def remember(self, row: RowInFlight[T], result: Any) -> None:
        """Put the result of a row into the cache."""
        if row.digest is not None:
            self._cache.put(row.digest, result)

    def release(self, owner: RowInFlight[T]) -> list[RowInFlight[T]]:
        """The rows that waited for a row, which they do no longer."""
        with self._lock:
            if owner.digest is not None and self._owners.get(owner.digest) is owner:
                del self._owners[owner.digest]
        followers, owner.followers = owner.followers, []
        self.waiting -= len(followers)
        self.waiting_bytes -= sum(row.nbytes for row in followers)
        return followers
