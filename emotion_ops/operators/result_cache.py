"""Results of inputs that were computed before in this process."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Mapping
from typing import Any


class ResultCache:
    """Results by the digest of their input, up to a number of them; the oldest goes first. Safe for many threads.

    Errors are not remembered: that a decoder was killed or a disk was full says nothing about the input.

    Args:
        rows: Maximum number of results, at least 1.
    """

    def __init__(self, rows: int) -> None:
        self._rows, self._results = rows, dict[bytes, Any]()
        self._lock = threading.Lock()

    def get(self, digest: bytes) -> Any | None:
        """The result of an input; None if it is not known."""
        return self._results.get(digest)

    def put(self, digest: bytes, result: Any) -> None:
        """Remember the result of an input."""
        with self._lock:
            if len(self._results) >= self._rows and digest not in self._results:
                del self._results[next(iter(self._results))]
            self._results[digest] = result


def cache_of(identity: Mapping[str, Any], rows: int) -> ResultCache:
    """The cache that all streams of equal identity share in this process.

    Args:
        identity: All that changes a result, except the input; see ``TableOperator.identity``.
        rows: See ``ResultCache``.
    """
    return _shared(json.dumps(identity, sort_keys=True), rows)


@functools.lru_cache(maxsize=4)
def _shared(identity: str, rows: int) -> ResultCache:
    return ResultCache(rows)


if hasattr(os, "register_at_fork"):  # a thread of the parent may hold a lock that the child cannot release
    os.register_at_fork(after_in_child=_shared.cache_clear)
