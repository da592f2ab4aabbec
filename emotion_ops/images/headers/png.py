"""The chunks of a PNG: how many, and how much EXIF."""

from __future__ import annotations

import re

from emotion_ops.images.headers.common import MAX_PARTS, check_metadata, number, too_many
from emotion_ops.images.limits import Limits

_CHUNK = re.compile(rb"\w{4}")  # what Pillow accepts as the name of a chunk


def check(data: bytes, limits: Limits) -> None:
    """Raise ``too_large`` for a PNG whose chunks no honest file has."""
    position, animated, pixels = 8, False, False
    for _ in range(MAX_PARTS):
        length, kind = number(data, position, 4), data[position + 4 : position + 8]
        if not _CHUNK.fullmatch(kind) or kind == b"IEND" or (kind == b"fcTL" and animated and pixels):
            return  # after the first frame of an animation, nothing is read
        if kind == b"eXIf":
            check_metadata(length)
        elif kind == b"tEXt" and data.startswith(b"Raw profile type exif\0", position + 8):
            check_metadata(length // 2)  # it is hexadecimal digits
        animated |= kind == b"acTL"
        pixels |= kind in (b"IDAT", b"fdAT")
        position += 12 + length
    raise too_many("chunks")
