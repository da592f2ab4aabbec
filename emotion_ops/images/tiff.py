"""The directories of a TIFF, as far as they can make a decoder work: sizes, counts and how many there are."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from emotion_ops.images.limits import Limits, too_large

NUMBERS = 2**18
"""Most numbers in a file's tags, each of which becomes an object of up to half a kilobyte."""

TAGS = 4096
"""Most tags of a directory; libtiff's own limit."""

_TILE_PIXELS = 4096 * 4096  # a small picture may lie in one larger tile
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_POINTERS = (34665, 34853, 40965)  # EXIF, GPS, interoperability
_SIZES = {3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # bytes of a number, by type


@dataclass(frozen=True)
class Directory:
    """What matters of one image file directory.

    Attributes:
        values: The value of each tag of one number that stands in the directory itself.
        numbers: How many numbers its tags hold that a reader would take.
    """

    values: dict[int, int] = field(default_factory=dict)
    numbers: int = 0


class Directories:
    """Walk a TIFF's directories without reading what their tags point at.

    Args:
        data: The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = ">" if data.startswith(b"MM") else "<"
        self._big = data[2:3] == b"+"
        self._first = self._unpack("Q", 8) if self._big else self._unpack("L", 4)

    def admit(self, limits: Limits) -> None:
        """Hold the first directory, those that it points at, and the number of all against the limits.

        Raises:
            RowError: ``too_large``.
        """
        first = self._read(self._first)
        limits.admit_size(first.values.get(_WIDTH, 0), first.values.get(_HEIGHT, 0))
        width, height = first.values.get(_TILE_WIDTH, 0), first.values.get(_TILE_HEIGHT, 0)
        if width * height > max(limits.max_pixels, _TILE_PIXELS):
            raise too_large(f"a TIFF with tiles of {width:,} × {height:,} pixels")
        numbers, pointing = first.numbers, [first]
        for _ in range(2):  # interoperability is pointed at by EXIF
            pointing = [self._read(one.values[tag]) for one in pointing for tag in _POINTERS if tag in one.values]
            numbers += sum(one.numbers for one in pointing)
        if numbers > NUMBERS:
            raise too_large(f"a TIFF with {numbers:,} numbers in its tags, more than {NUMBERS:,}")
        limits.admit_frames(self._count(limits.max_frames + 1))

    def _count(self, most: int) -> int:
        """How many directories are chained, counted no further than ``most``; a loop ends the chain."""
        seen: set[int] = set()
        offset = self._first
        while offset and offset not in seen and len(seen) < most:
            seen.add(offset)
            tags = self._tags(offset)
            offset = (
                self._unpack("Q", offset + 8 + 20 * tags) if self._big else self._unpack("L", offset + 2 + 12 * tags)
            )
        return len(seen)

    def _tags(self, offset: int) -> int:
        return self._unpack("Q", offset) if self._big else self._unpack("H", offset)

    def _read(self, offset: int) -> Directory:
        tags = self._tags(offset)
        if tags > TAGS:
            raise too_large(f"a TIFF directory of {tags:,} tags, more than {TAGS:,}")
        start, layout = (offset + 8, "HHQ8s") if self._big else (offset + 2, "HHL4s")
        entry = struct.Struct(self._order + layout)
        numbers = 0
        values: dict[int, int] = {}
        for tag, kind, count, value in entry.iter_unpack(self._whole(start, tags, entry.size)):
            size = _SIZES.get(kind, 0)
            if size and count * size <= len(self._data):  # more than that cannot be there, and is not read
                numbers += count
            if count == 1 and kind in (3, 4, 13, 16) and size <= len(value):
                values.setdefault(tag, int.from_bytes(value[:size], "big" if self._order == ">" else "little"))
        return Directory(values, numbers)

    def _whole(self, start: int, count: int, size: int) -> bytes:
        """As many whole entries as there are."""
        entries = self._data[start : start + count * size]
        return entries[: len(entries) // size * size]

    def _unpack(self, code: str, offset: int) -> int:
        """One number at an offset; 0 where the file has ended."""
        number = struct.Struct(self._order + code)
        if offset + number.size > len(self._data):
            return 0
        value: int = number.unpack_from(self._data, offset)[0]
        return value
