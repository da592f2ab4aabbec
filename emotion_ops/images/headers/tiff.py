"""The directories of a TIFF: how many, their sizes, and how many numbers their tags have."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from emotion_ops.images.limits import Limits, too_large

_MAX_NUMBERS = 2**18  # in the tags of a file; each becomes an object of up to half a kilobyte
_MAX_TAGS = 4096  # of a directory; libtiff has the same limit
_TILE_PIXELS = 4096 * 4096  # a small image may be in one larger tile
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_POINTERS = (34665, 34853, 40965)  # EXIF, GPS, interoperability
_SIZES = {3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # bytes of a number, by type


def check(data: bytes, limits: Limits) -> None:
    """Raise ``too_large`` for a TIFF over the limits, or whose tags no honest file has."""
    _Directories(data).check(limits)


@dataclass(frozen=True)
class _Directory:
    """One image file directory.

    Attributes:
        values: The value of each tag with one number that is in the directory itself.
        numbers: How many numbers of its tags a reader would read.
    """

    values: dict[int, int] = field(default_factory=dict)
    numbers: int = 0


class _Directories:
    """Reads a TIFF's directories, but not what their tags point to.

    Args:
        data: The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = ">" if data.startswith(b"MM") else "<"
        self._big = data[2:3] == b"+"
        self._first = self._unpack("Q", 8) if self._big else self._unpack("L", 4)

    def check(self, limits: Limits) -> None:
        """Check the first directory, those that it points to, and the number of all directories."""
        first = self._read(self._first)
        limits.check_size(first.values.get(_WIDTH, 0), first.values.get(_HEIGHT, 0))
        width, height = first.values.get(_TILE_WIDTH, 0), first.values.get(_TILE_HEIGHT, 0)
        if width * height > max(limits.max_pixels, _TILE_PIXELS):
            raise too_large(f"a TIFF with tiles of {width:,} × {height:,} pixels")
        numbers, level = first.numbers, [first]
        for _ in range(2):  # EXIF points to interoperability
            level = [self._read(one.values[tag]) for one in level for tag in _POINTERS if tag in one.values]
            numbers += sum(one.numbers for one in level)
        if numbers > _MAX_NUMBERS:
            raise too_large(f"a TIFF with {numbers:,} numbers in its tags, more than {_MAX_NUMBERS:,}")
        limits.check_frames(self._count(limits.max_frames + 1))

    def _count(self, maximum: int) -> int:
        """How many directories the chain has, counted up to ``maximum``; a loop ends the chain."""
        seen: set[int] = set()
        offset = self._first
        while offset and offset not in seen and len(seen) < maximum:
            seen.add(offset)
            tags = self._tags(offset)
            offset = (
                self._unpack("Q", offset + 8 + 20 * tags) if self._big else self._unpack("L", offset + 2 + 12 * tags)
            )
        return len(seen)

    def _tags(self, offset: int) -> int:
        return self._unpack("Q", offset) if self._big else self._unpack("H", offset)

    def _read(self, offset: int) -> _Directory:
        tags = self._tags(offset)
        if tags > _MAX_TAGS:
            raise too_large(f"a TIFF directory of {tags:,} tags, more than {_MAX_TAGS:,}")
        start, layout = (offset + 8, "HHQ8s") if self._big else (offset + 2, "HHL4s")
        entry = struct.Struct(self._order + layout)
        numbers = 0
        values: dict[int, int] = {}
        for tag, kind, count, value in entry.iter_unpack(self._entries(start, tags, entry.size)):
            size = _SIZES.get(kind, 0)
            if size and count * size <= len(self._data):  # the file cannot contain more, and more is not read
                numbers += count
            if count == 1 and kind in (3, 4, 13, 16) and size <= len(value):
                values.setdefault(tag, int.from_bytes(value[:size], "big" if self._order == ">" else "little"))
        return _Directory(values, numbers)

    def _entries(self, start: int, count: int, size: int) -> bytes:
        """The complete entries of a directory that ends early."""
        entries = self._data[start : start + count * size]
        return entries[: len(entries) // size * size]

    def _unpack(self, code: str, offset: int) -> int:
        """One number at an offset; 0 where the file has ended."""
        number = struct.Struct(self._order + code)
        if offset + number.size > len(self._data):
            return 0
        value: int = number.unpack_from(self._data, offset)[0]
        return value
