"""What one image may cost, held against what it claims before a decoder believes it."""

from __future__ import annotations

from dataclasses import dataclass

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.options import OptionGroup, byte_count, option, whole_number


@dataclass(frozen=True)
class Limits(OptionGroup):
    """What one image may cost. An image above a limit is not decoded; its row fails with ``too_large``.

    Args:
        max_bytes: Maximum size of one encoded image, in bytes.
        max_pixels: Maximum width times height, of an encoded image or of decoded pixels.
        max_side: Maximum width and maximum height, in pixels. The default is the maximum of the JPEG format.
        max_frames: Maximum number of frames or pages in one file. Only the first is decoded.
    """

    max_bytes: int = option(byte_count, 64 * 2**20)
    max_pixels: int = option(whole_number, 100_000_000)
    max_side: int = option(whole_number, 65_535)
    max_frames: int = option(whole_number, 10_000)

    @property
    def memory(self) -> int:
        """Bytes that decoding the largest image within these limits takes, in whichever format takes most."""
        return 256 * 2**20 + 24 * self.max_pixels + 4 * self.max_bytes

    def admit_bytes(self, count: int) -> None:
        """Raise ``too_large`` for an encoded image of so many bytes, if it is."""
        if count > self.max_bytes:
            raise too_large(f"{count:,} encoded bytes, more than max_bytes={self.max_bytes:,}")

    def admit_size(self, width: int, height: int) -> None:
        """Raise ``too_large`` for a picture of this size, if it is."""
        if max(width, height) > self.max_side:
            raise too_large(f"{width:,} × {height:,} pixels, a side longer than max_side={self.max_side:,}")
        if width * height > self.max_pixels:
            raise too_large(f"{width:,} × {height:,} pixels, more than max_pixels={self.max_pixels:,}")

    def admit_frames(self, count: int) -> None:
        """Raise ``too_large`` for a file of so many frames, if it is."""
        if count > self.max_frames:
            raise too_large(f"{count:,} frames or more, more than max_frames={self.max_frames:,}")


def too_large(detail: str) -> RowError:
    """The error of a row whose image costs more than it may."""
    return RowError(RowErrorCode.TOO_LARGE, detail)
