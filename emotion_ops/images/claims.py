"""What an encoded image claims of itself, held against the limits before Pillow acts on it.

Pillow's plugins read headers in Python, and believe them: a tag of sixteen million numbers becomes as many
objects, each empty segment a turn of a loop, a canvas is allocated when it is announced. The walks here look at
lengths alone, end after ``PARTS`` steps, and refuse what no honest file has. Whatever else is wrong with a
file is left for the decoder to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from emotion_ops.errors import RowError
from emotion_ops.images.boxes import exif_bytes
from emotion_ops.images.limits import Limits, too_large
from emotion_ops.images.tiff import Directories

PARTS = 2**16
"""Most segments, chunks or blocks of a file: enough for 64 MiB in chunks of 1 KiB."""

METADATA = 2**20
"""Most bytes of EXIF, whose tags are numbers too; Pillow's own limit for a PNG's packed text."""

SCANS = 500
"""Most scans of a progressive JPEG, each of which goes over all pixels; libjpeg-turbo's fuzzers stop there too."""

_MARKER = re.compile(rb"[^\xff]*\xff+([^\xff])", re.DOTALL)
_CHUNK = re.compile(rb"\w{4}")  # what Pillow takes for a chunk's name
_NO_LENGTH = frozenset((0x00, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))
_SOS, _APP1 = 0xDA, 0xE1
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)


def check_claims(name: str, data: bytes, limits: Limits) -> None:
    """Hold an encoded image of a format against the limits, by its lengths and counts alone.

    Args:
        name: The format.
        data: The whole file.
        limits: What it may cost.

    Raises:
        RowError: ``too_large``.
    """
    walk = _WALKS.get(name)
    if walk is not None:
        walk(data, limits)


def _jpeg(data: bytes, limits: Limits) -> None:
    position, exif, stray, frames = 2, 0, 0, []
    for _ in range(PARTS):
        found = _MARKER.match(data, position)
        if found is None:
            return
        stray += found.end() - position - 2
        if stray > PARTS:  # Pillow takes a step for each
            raise too_large(f"a JPEG header with more than {PARTS:,} stray bytes")
        marker, position = found[1][0], found.end()
        if marker in _NO_LENGTH:
            continue
        length = _number(data, position, 2)
        if marker == _APP1 and data.startswith(b"Exif\0\0", position + 2):
            exif += length
            _admit_metadata(exif)
        if marker in _SOF:
            frames.append((marker in _SEQUENTIAL, _number(data, position + 7, 1)))  # and its components
        if marker == _SOS and frames == [(True, _number(data, position + 2, 1))]:
            return  # all components in one scan: a decoder stops after it
        position += max(2, length)
        if marker == _SOS:
            end = data.find(b"\xff\xd9", position)
            scans = 1 + data.count(b"\xff\xda", position, end if end >= 0 else len(data))
            if scans > SCANS:
                raise too_large(f"a JPEG of {scans:,} scans, more than {SCANS}")
            return
    raise _too_many("segments")


def _png(data: bytes, limits: Limits) -> None:
    position, animated, pixels = 8, False, False
    for _ in range(PARTS):
        length, kind = _number(data, position, 4), data[position + 4 : position + 8]
        if not _CHUNK.fullmatch(kind) or kind == b"IEND" or (kind == b"fcTL" and animated and pixels):
            return  # of an animation, what comes after the first frame is never read
        if kind == b"eXIf":
            _admit_metadata(length)
        elif kind == b"tEXt" and data.startswith(b"Raw profile type exif\0", position + 8):
            _admit_metadata(length // 2)  # hexadecimal digits
        animated |= kind == b"acTL"
        pixels |= kind in (b"IDAT", b"fdAT")
        position += 12 + length
    raise _too_many("chunks")


def _webp(data: bytes, limits: Limits) -> None:
    if data[12:16] == b"VP8X":  # the canvas, which the decoder allocates when it is made
        limits.admit_size(1 + _number(data, 24, 3, "little"), 1 + _number(data, 27, 3, "little"))
    elif data[12:16] == b"VP8 ":
        limits.admit_size(_number(data, 26, 2, "little") & 0x3FFF, _number(data, 28, 2, "little") & 0x3FFF)
    elif data[12:16] == b"VP8L":
        bits = _number(data, 21, 4, "little")
        limits.admit_size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    position, frames = 12, 0
    for _ in range(max(PARTS, limits.max_frames)):
        if position + 8 > len(data):
            return
        length = _number(data, position + 4, 4, "little")
        kind = data[position : position + 4]
        if kind == b"EXIF":
            _admit_metadata(length)
        frames += kind == b"ANMF"
        limits.admit_frames(frames)
        position += 8 + length + length % 2
    raise _too_many("chunks")


def _gif(data: bytes, limits: Limits) -> None:
    """Count the frames within the first ``PARTS`` blocks; what lies beyond the first frame is never read."""
    position, frames, inside = 13 + _colours(data, 10), 0, False
    for _ in range(PARTS):
        kind = data[position : position + 1]
        if inside:  # the blocks of an image or an extension, to the empty one that ends them
            inside = kind not in (b"", b"\0")
            position += 1 + _number(data, position, 1)
        elif kind == b",":
            frames += 1
            limits.admit_frames(frames)
            inside, position = True, position + 11 + _colours(data, position + 9)
        elif kind == b"!":
            inside, position = True, position + 2
        elif kind in (b"", b";"):
            return
        else:
            position += 1
    if not frames:
        raise _too_many("blocks")


def _colours(data: bytes, flags: int) -> int:
    """Bytes of the palette that the flags at a position announce."""
    bits = _number(data, flags, 1)
    return 3 << (bits & 7) + 1 if bits & 0x80 else 0


def _tiff(data: bytes, limits: Limits) -> None:
    Directories(data).admit(limits)


def _avif(data: bytes, limits: Limits) -> None:
    _admit_metadata(exif_bytes(data))


def _number(data: bytes, position: int, size: int, order: str = "big") -> int:
    return int.from_bytes(data[position : position + size], order)  # type: ignore[arg-type]  # big or little


def _admit_metadata(length: int) -> None:
    if length > METADATA:
        raise too_large(f"EXIF of {length:,} bytes, more than {METADATA:,}")


def _too_many(parts: str) -> RowError:
    return too_large(f"more than {PARTS:,} {parts}")


_WALKS: dict[str, Callable[[bytes, Limits], None]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "TIFF": _tiff,
    "AVIF": _avif,
}
