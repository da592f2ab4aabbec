"""The blocks of a GIF: how many, and how many frames."""

from __future__ import annotations

from emotion_ops.images.headers.common import MAX_PARTS, number, too_many
from emotion_ops.images.limits import Limits


def check(data: bytes, limits: Limits) -> None:
    """Raise ``too_large`` for a GIF with too many frames, or with no frame in its first ``MAX_PARTS`` blocks.

    What comes after the first frame is never decoded, so later blocks are not counted.
    """
    position, frames, in_blocks = 13 + _palette(data, 10), 0, False
    for _ in range(MAX_PARTS):
        kind = data[position : position + 1]
        if in_blocks:  # the data of an image or an extension; an empty block ends it
            in_blocks = kind not in (b"", b"\0")
            position += 1 + number(data, position, 1)
        elif kind == b",":
            frames += 1
            limits.check_frames(frames)
            in_blocks, position = True, position + 11 + _palette(data, position + 9)
        elif kind == b"!":
            in_blocks, position = True, position + 2
        elif kind in (b"", b";"):
            return
        else:
            position += 1
    if not frames:
        raise too_many("blocks")


def _palette(data: bytes, flags: int) -> int:
    """Bytes of the palette that the flags at a position announce."""
    bits = number(data, flags, 1)
    return 3 << (bits & 7) + 1 if bits & 0x80 else 0
