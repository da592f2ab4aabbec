"""How many bytes of EXIF an AVIF says that it has, from the boxes that it is made of (ISO 14496-12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_MOST = 2**16  # boxes, items or extents that are looked at


def exif_bytes(data: bytes) -> int:
    """The length of all EXIF items of an AVIF; 0 where it has none, or what it says makes no sense."""
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            parts = {kind: (start, end) for kind, start, end in _boxes(data, start + 4, end)}
            names = _exif_items(data, *parts.get(b"iinf", (0, 0)))
            return _length(data, names, *parts.get(b"iloc", (0, 0)))
    return 0


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Each box's kind, and where its contents start and end."""
    for _ in range(_MOST):
        if start + 8 > end:
            return
        size, kind, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        yield kind, start + head, min(start + size, end)
        start += size


@dataclass
class _Reader:
    data: bytes
    position: int

    def take(self, size: int) -> int:
        number = int.from_bytes(self.data[self.position : self.position + size], "big")
        self.position += size
        return number


def _exif_items(data: bytes, start: int, end: int) -> set[int]:
    """The numbers of the items that are EXIF, from the item information box."""
    items = set()
    first = start + (6 if data[start : start + 1] == b"\0" else 8)
    for kind, inside, _ in _boxes(data, first, end):
        width = 4 if data[inside : inside + 1] == b"\3" else 2
        name = inside + 4 + width + 2
        if kind == b"infe" and data[name : name + 4] == b"Exif":
            items.add(int.from_bytes(data[inside + 4 : inside + 4 + width], "big"))
    return items


def _length(data: bytes, items: set[int], start: int, end: int) -> int:
    """The bytes of some items, from the item location box."""
    box = _Reader(data, start)
    version = box.take(4) >> 24
    sizes = box.take(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    total = 0
    for _ in range(min(_MOST, box.take(4 if version == 2 else 2))):
        item = box.take(4 if version == 2 else 2)
        box.position += (2 if version else 0) + 2 + base
        for _ in range(min(_MOST, box.take(2))):
            box.position += (index if version else 0) + offset
            taken = box.take(length)
            total += taken if item in items else 0
            if box.position >= end:
                return total
    return total
