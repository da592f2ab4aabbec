"""How many bytes of EXIF an AVIF announces in its boxes (ISO 14496-12)."""

from __future__ import annotations

from collections.abc import Iterator

from emotion_ops.images.headers.common import check_metadata, number
from emotion_ops.images.limits import Limits

_MAX_PARTS = 2**16  # boxes, items or extents that are read


def check(data: bytes, limits: Limits) -> None:
    """Raise ``too_large`` for an AVIF with too much EXIF."""
    check_metadata(_exif_bytes(data))


def _exif_bytes(data: bytes) -> int:
    """The length of all EXIF items; 0 if there are none, or the boxes are broken."""
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            parts = {kind: (start, end) for kind, start, end in _boxes(data, start + 4, end)}
            items = _exif_items(data, *parts.get(b"iinf", (0, 0)))
            return _length(data, items, *parts.get(b"iloc", (0, 0)))
    return 0


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each box, and where its contents start and end."""
    for _ in range(_MAX_PARTS):
        if start + 8 > end:
            return
        size, kind, head = number(data, start, 4), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = number(data, start + 8, 8), 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        yield kind, start + head, min(start + size, end)
        start += size


class _Reader:
    """Reads numbers one after the other."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self.position = data, position

    def read(self, size: int) -> int:
        value = number(self._data, self.position, size)
        self.position += size
        return value


def _exif_items(data: bytes, start: int, end: int) -> set[int]:
    """The numbers of the items that are EXIF, from the item information box."""
    items = set()
    first = start + (6 if data[start : start + 1] == b"\0" else 8)
    for kind, inside, _ in _boxes(data, first, end):
        width = 4 if data[inside : inside + 1] == b"\3" else 2
        name = inside + 4 + width + 2
        if kind == b"infe" and data[name : name + 4] == b"Exif":
            items.add(number(data, inside + 4, width))
    return items


def _length(data: bytes, items: set[int], start: int, end: int) -> int:
    """The number of bytes of some items, from the item location box."""
    box = _Reader(data, start)
    version = box.read(4) >> 24
    sizes = box.read(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    total = 0
    for _ in range(min(_MAX_PARTS, box.read(4 if version == 2 else 2))):
        item = box.read(4 if version == 2 else 2)
        box.position += (2 if version else 0) + 2 + base
        for _ in range(min(_MAX_PARTS, box.read(2))):
            box.position += (index if version else 0) + offset
            extent = box.read(length)
            total += extent if item in items else 0
            if box.position >= end:
                return total
    return total
