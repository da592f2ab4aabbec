"""The chunks of a WebP: how many, the canvas, the frames, and how much EXIF."""

from __future__ import annotations

from emotion_ops.images.headers.common import MAX_PARTS, check_metadata, number, too_many
from emotion_ops.images.limits import Limits


def check(data: bytes, limits: Limits) -> None:
    """Raise ``too_large`` for a WebP over the limits, or whose chunks no honest file has."""
    if data[12:16] == b"VP8X":  # the canvas, which the decoder allocates when it is created
        limits.check_size(1 + number(data, 24, 3, "little"), 1 + number(data, 27, 3, "little"))
    elif data[12:16] == b"VP8 ":
        limits.check_size(number(data, 26, 2, "little") & 0x3FFF, number(data, 28, 2, "little") & 0x3FFF)
    elif data[12:16] == b"VP8L":
        bits = number(data, 21, 4, "little")
        limits.check_size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    position, frames = 12, 0
    for _ in range(max(MAX_PARTS, limits.max_frames)):
        if position + 8 > len(data):
            return
        length = number(data, position + 4, 4, "little")
        kind = data[position : position + 4]
        if kind == b"EXIF":
            check_metadata(length)
        frames += kind == b"ANMF"
        limits.check_frames(frames)
        position += 8 + length + length % 2
    raise too_many("chunks")
