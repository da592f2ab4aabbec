"""What one image may cost. The limits are compared with what a file says about itself, before it is decoded."""

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
        """Bytes that decoding the largest image within these limits needs, in the format that needs most."""
        return 256 * 2**20 + 24 * self.max_pixels + 4 * self.max_bytes

    def check_bytes(self, count: int) -> None:
        """Raise ``too_large`` if an encoded image of so many bytes is over the limit."""
        if count > self.max_bytes:
            raise too_large(f"{count:,} encoded bytes, more than max_bytes={self.max_bytes:,}")

    def check_size(self, width: int, height: int) -> None:
        """Raise ``too_large`` if an image of this size is over the limit."""
        if max(width, height) > self.max_side:
            raise too_large(f"{width:,} × {height:,} pixels, a side longer than max_side={self.max_side:,}")
        if width * height > self.max_pixels:
            raise too_large(f"{width:,} × {height:,} pixels, more than max_pixels={self.max_pixels:,}")

    def check_image(self, width: int, height: int) -> None:
        """As ``check_size``; also raise ``undecodable`` for an image without pixels."""
        self.check_size(width, height)
        if width < 1 or height < 1:
            raise RowError(RowErrorCode.UNDECODABLE, f"{width:,} × {height:,} pixels: the image is empty")

    def check_frames(self, count: int) -> None:
        """Raise ``too_large`` if a file of so many frames is over the limit."""
        if count > self.max_frames:
            raise too_large(f"{count:,} frames or more, more than max_frames={self.max_frames:,}")


def too_large(detail: str) -> RowError:
    """The error of a row whose image costs more than it may."""
    return RowError(RowErrorCode.TOO_LARGE, detail)
