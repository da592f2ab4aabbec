"""What the checks of several formats share."""

from __future__ import annotations

from typing import Literal

from emotion_ops.errors import RowError
from emotion_ops.images.limits import too_large

MAX_PARTS = 2**16
"""Maximum segments, chunks or blocks of a file: enough for 64 MiB in chunks of 1 KiB."""

MAX_METADATA = 2**20
"""Maximum bytes of EXIF, whose tags can be many numbers too. Pillow has the same limit for compressed text in a PNG."""


def number(data: bytes, position: int, size: int, order: Literal["big", "little"] = "big") -> int:
    """An unsigned integer in a file. Bytes after its end count as missing, not as zeros."""
    return int.from_bytes(data[position : position + size], order)


def check_metadata(length: int) -> None:
    """Raise ``too_large`` for EXIF of so many bytes, if it is over the limit."""
    if length > MAX_METADATA:
        raise too_large(f"EXIF of {length:,} bytes, more than {MAX_METADATA:,}")


def too_many(parts: str) -> RowError:
    """The error of a file with too many parts."""
    return too_large(f"more than {MAX_PARTS:,} {parts}")
