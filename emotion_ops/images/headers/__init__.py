"""What an encoded image says about itself, compared with the limits before Pillow acts on it.

Pillow's plugins parse headers in Python and believe them: a tag with sixteen million numbers becomes sixteen million
objects, each empty segment takes one turn of a loop, and a canvas is allocated as soon as it is announced. The parsers
here look only at lengths and counts, and stop after ``MAX_PARTS`` steps. They refuse only what no honest file
contains. Other errors in a file are left to the decoder.
"""

from __future__ import annotations

from collections.abc import Callable

from emotion_ops.images.headers import avif, gif, jpeg, png, tiff, webp
from emotion_ops.images.limits import Limits

_CHECKS: dict[str, Callable[[bytes, Limits], None]] = {
    "JPEG": jpeg.check,
    "PNG": png.check,
    "WEBP": webp.check,
    "GIF": gif.check,
    "TIFF": tiff.check,
    "AVIF": avif.check,
}


def check_headers(name: str, data: bytes, limits: Limits) -> None:
    """Compare the lengths and counts in the headers of an encoded image with the limits.

    Args:
        name: The format.
        data: The whole file.
        limits: What it may cost.

    Raises:
        RowError: ``too_large``.
    """
    if check := _CHECKS.get(name):
        check(data, limits)
