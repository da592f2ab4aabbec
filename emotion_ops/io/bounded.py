"""Reading a stream of unknown length within a limit, and reserving its memory first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from emotion_ops.errors import RowError, RowErrorCode

_CHUNK = 64 * 2**10
_UNKNOWN_SIZE = 2**20  # bytes that are reserved if a source does not say its size: enough for most images

Reserve: TypeAlias = Callable[[int], None]
"""Called with a number of bytes before they are used. It may wait until that much memory is free."""


def no_op(amount: int) -> None:
    """A ``Reserve`` that never waits."""


def read_bounded(read: Callable[[int], bytes], size: int | None, max_bytes: int, shown: str, reserve: Reserve) -> bytes:
    """Read to the end; stop when there are more bytes than the limit.

    Args:
        read: Returns the next bytes, and none at the end. It is called with the number of bytes that are wanted.
        size: What the source says about its size. It may be wrong.
        max_bytes: Maximum number of bytes.
        shown: The location, for the error message.
        reserve: Called with ``size`` before reading, and with the maximum if there are more bytes than that.

    Raises:
        RowError: ``too_large``; before reading if ``size`` is over the limit.
    """
    problem = RowError(RowErrorCode.TOO_LARGE, f"{shown} has more than {max_bytes:,} bytes, the limit (max_bytes)")
    if size is not None and size > max_bytes:
        raise problem
    reserved = _UNKNOWN_SIZE if size is None else size
    reserve(reserved)
    chunks, total = [], 0
    while chunk := read(min(max((size or 0) - total, _CHUNK), max_bytes + 1 - total)):
        total += len(chunk)
        if total > max_bytes:
            raise problem
        if total > reserved:
            reserved = max_bytes
            reserve(2 * max_bytes)  # the chunks, and the joined bytes
        chunks.append(chunk)
    return b"".join(chunks)
