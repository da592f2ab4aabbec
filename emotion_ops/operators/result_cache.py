"""Results of inputs that were computed before in this process."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from emotion_ops.errors import OptionError


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


def shared_cache(operator_class: type[Any], identity: Callable[[], Mapping[str, Any]], rows: int) -> ResultCache | None:
    """The cache that all streams of one class and of equal identity share in this process; None if there is none.

    Args:
        operator_class: The operator's class. A class that is defined again, in a notebook for example, is another one.
        identity: Gives all that changes a result, except the input; see ``TableOperator.identity``. If it raises
            ``OptionError``, there is no cache: an option is a function without a name, for example.
        rows: Maximum number of results; 0 for no cache.
    """
    if not rows:
        return None
    try:
        text = json.dumps(identity(), sort_keys=True)
    except OptionError:
        return None
    return _shared_cache(operator_class, text, rows)  # type: ignore[arg-type]  # mypy: a class is not Hashable


@functools.lru_cache(maxsize=4)
def _shared_cache(operator_class: Hashable, identity: str, rows: int) -> ResultCache:
    return ResultCache(rows)


if hasattr(os, "register_at_fork"):  # a thread of the parent may hold a lock that the child cannot release
    os.register_at_fork(after_in_child=_shared_cache.cache_clear)
