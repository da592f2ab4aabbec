"""The image formats that are decoded, and opening an encoded image: its header is read, no pixel is decoded."""

from __future__ import annotations

import io

from PIL import ExifTags, Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.headers import check_headers
from emotion_ops.images.limits import Limits, too_large
from emotion_ops.images.quiet import quiet
from emotion_ops.io.redact import reason

READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
    "AVIF": AvifImageFile,
}
"""The formats that are decoded, and Pillow's class for each. All other formats are refused."""

_FRAMES_IN_HEADER = ("PNG", "AVIF")  # for the others, Pillow would read to the end of the file to count them


def open_encoded(encoded: bytes | memoryview, limits: Limits) -> Image.Image:
    """Read the header of an encoded image.

    Args:
        encoded: A whole image file.
        limits: What it may cost.

    Raises:
        RowError: ``too_large``, ``unsupported`` (not a format of ``READERS``) or ``undecodable`` (no bytes, no pixels,
            or a broken header).
    """
    if len(encoded) == 0:
        raise RowError(RowErrorCode.UNDECODABLE, "the image has 0 bytes")
    limits.check_bytes(len(encoded))
    data = bytes(encoded)
    name = _find_format(data[:16])
    if name is None:
        raise RowError(
            RowErrorCode.UNSUPPORTED,
            f"{len(data):,} bytes that begin with {data[:8]!r} are none of {', '.join(READERS)}",
        )
    check_headers(name, data, limits)
    # Image.open(formats=…) would do the same, but its limit of pixels is a global variable of the whole process, and
    # it opens a JPEG as an album of several images (MPO) if the JPEG says that it is one.
    try:
        with quiet():
            image = READERS[name](io.BytesIO(data))
    except Exception as error:  # Pillow's plugins raise any exception
        raise decoding_error(f"{name} header", error) from None
    limits.check_image(*image.size)
    limits.check_frames(getattr(image, "n_frames", 1) if name in _FRAMES_IN_HEADER else 1)
    return image


def exif_orientation(image: Image.Image) -> int:
    """How an image must be turned, by its EXIF, 1 to 8; 1 if the EXIF is missing or broken."""
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the pixels are usable without it
        return 1
    return orientation


def decoding_error(what: str, error: Exception) -> RowError:
    """The row's error for an exception of a decoder."""
    if isinstance(error, Image.DecompressionBombError):  # a plugin compares with Pillow's own global limit
        return too_large(f"{what}: {reason(error)}")
    if isinstance(error, MemoryError):
        return RowError(RowErrorCode.UNDECODABLE, f"{what}: there is not enough memory to decode it")
    return RowError(RowErrorCode.UNDECODABLE, f"broken {what} ({reason(error)})")


def _find_format(start: bytes) -> str | None:
    return next((name for name in READERS if (accept := Image.OPEN[name][1]) and accept(start) is True), None)
