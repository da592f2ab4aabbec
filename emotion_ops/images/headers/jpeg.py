"""The segments of a JPEG: how many, how much EXIF, and how many scans."""

from __future__ import annotations

import re

from emotion_ops.images.headers.common import MAX_PARTS, check_metadata, number, too_many
from emotion_ops.images.limits import Limits, too_large

_MAX_SCANS = 500
"""Maximum scans of a progressive JPEG. Each goes over all pixels. libjpeg-turbo's fuzzers have the same limit."""

_MARKER = re.compile(rb"[^\xff]*\xff+([^\xff])", re.DOTALL)
_NO_LENGTH = frozenset((0x00, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))
_SOS, _APP1 = 0xDA, 0xE1
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)


def check(data: bytes, limits: Limits) -> None:
    """Raise ``too_large`` for a JPEG whose headers or scans no honest file has."""
    position, exif, stray, frames = 2, 0, 0, []
    for _ in range(MAX_PARTS):
        found = _MARKER.match(data, position)
        if found is None:
            return
        stray += found.end() - position - 2
        if stray > MAX_PARTS:  # Pillow takes a step for each
            raise too_large(f"a JPEG header with more than {MAX_PARTS:,} stray bytes")
        marker, position = found[1][0], found.end()
        if marker in _NO_LENGTH:
            continue
        length = number(data, position, 2)
        if marker == _APP1 and data.startswith(b"Exif\0\0", position + 2):
            exif += length
            check_metadata(exif)
        if marker in _SOF:
            frames.append((marker in _SEQUENTIAL, number(data, position + 7, 1)))  # and the number of components
        if marker == _SOS and frames == [(True, number(data, position + 2, 1))]:
            return  # all components are in one scan, and a decoder stops after it
        position += max(2, length)
        if marker == _SOS:
            _check_scans(data, position)
            return
    raise too_many("segments")


def _check_scans(data: bytes, position: int) -> None:
    end = data.find(b"\xff\xd9", position)
    scans = 1 + data.count(b"\xff\xda", position, end if end >= 0 else len(data))
    if scans > _MAX_SCANS:
        raise too_large(f"a JPEG of {scans:,} scans, more than {_MAX_SCANS}")
