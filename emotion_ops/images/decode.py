"""Encoded bytes or pixels → one upright RGB picture, or the reason why not.

The picture equals what ``transformers.pipeline`` sees: Pillow's first frame, EXIF orientation applied,
then Pillow's own conversion to RGB (alpha dropped, palette looked up, 16 bits clipped to 8).
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.claims import check_claims
from emotion_ops.images.decoding import Channels
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
"""Pillow's class for each format."""

FORMATS = tuple(READERS)
"""The formats that are decoded; whatever else Pillow knows is refused."""

_FRAMES_IN_HEADER = ("PNG", "AVIF")  # of the others Pillow would count them, reading to the end

AT_ONCE: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
"""What guards a picture that nobody else has."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_encoded(encoded: bytes | memoryview, limits: Limits) -> Image.Image:
    """Read the header of an encoded image; no pixel is decoded yet.

    Args:
        encoded: A whole image file.
        limits: What it may cost.

    Raises:
        RowError: ``too_large``, ``unsupported`` (no format of ``FORMATS``) or ``undecodable`` (no bytes, or a
            header that makes no sense).
    """
    if len(encoded) == 0:
        raise RowError(RowErrorCode.UNDECODABLE, "the image has 0 bytes")
    limits.admit_bytes(len(encoded))
    data = bytes(encoded)
    name = _format_of(data[:16])
    if name is None:
        raise RowError(
            RowErrorCode.UNSUPPORTED,
            f"{len(data):,} bytes that begin with {data[:8]!r} are none of {', '.join(FORMATS)}",
        )
    check_claims(name, data, limits)
    # Image.open(formats=FORMATS) would do, but for its limit on pixels, a global of the whole process, and for its
    # second thoughts: it takes a JPEG for the album of pictures (MPO) that the JPEG may claim to be.
    try:
        with quiet():
            image = READERS[name](io.BytesIO(data))
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet
        raise _broken(f"{name} header", error) from None
    limits.admit_size(*image.size)
    limits.admit_frames(getattr(image, "n_frames", 1) if name in _FRAMES_IN_HEADER else 1)
    return image


def upright_rgb(image: Image.Image, reading: contextlib.AbstractContextManager[Any] = AT_ONCE) -> Image.Image:
    """Decode a picture, turn it upright by its EXIF orientation and convert it to RGB.

    Args:
        image: A picture of any of Pillow's modes, decoded or not. Its pixels are not changed.
        reading: Entered while the picture itself may change: until it is decoded and has told its orientation.

    Raises:
        RowError: ``undecodable``; the data is truncated or broken.
    """
    try:
        with quiet():
            with reading:
                image.load()  # some formats learn their orientation only here, and TIFF turns itself upright
                turn = _UPRIGHT.get(orientation_of(image))
            if turn is not None:
                image = image.transpose(turn)
            if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
                image = image.convert("RGBA")  # the same colours, without Pillow's warning on the short way
            return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet
        raise _broken(f"{image.format or image.mode} data", error) from None


def admit_pixels(pixels: np.ndarray[Any, Any], limits: Limits) -> None:
    """Hold an array of pixels against what ``picture_of_pixels`` takes, and against the limits.

    Args:
        pixels: uint8 of shape (height, width), (height, width, 1), (height, width, 3) or (height, width, 4).
        limits: What an image may cost.

    Raises:
        RowError: ``unsupported``, another dtype or shape, which could only be guessed at; or ``too_large``.
    """
    shape = pixels.shape
    if (
        pixels.dtype != np.uint8
        or pixels.size == 0
        or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)))
    ):
        raise RowError(
            RowErrorCode.UNSUPPORTED,
            f"pixels of {pixels.dtype} and shape {shape}; give uint8 of (height, width) or (height, width, 1 | 3 | 4)",
        )
    limits.admit_size(shape[1], shape[0])


def picture_of_pixels(pixels: np.ndarray[Any, Any], channels: Channels) -> Image.Image:
    """Take an array of pixels for an RGB picture.

    Args:
        pixels: What ``admit_pixels`` has admitted.
        channels: The order of the colours; alpha is last in both, and is dropped.
    """
    shape = pixels.shape
    if len(shape) == 3 and shape[2] == 1:
        pixels = pixels[:, :, 0]
    elif len(shape) == 3:
        pixels = pixels[:, :, 2::-1] if channels == "bgr" else pixels[:, :, :3]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def orientation_of(image: Image.Image) -> int:
    """How a picture is to be turned, by its EXIF; 1 where that says nothing."""
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF that cannot be parsed says nothing of the orientation, and hides no pixel
        return 1
    return orientation


def _format_of(start: bytes) -> str | None:
    return next((name for name in FORMATS if (accept := Image.OPEN[name][1]) and accept(start) is True), None)


def _broken(what: str, error: Exception) -> RowError:
    if isinstance(error, Image.DecompressionBombError):  # a plugin's own check, against Pillow's global
        return too_large(f"{what}: {reason(error)}")
    if isinstance(error, MemoryError):
        return RowError(RowErrorCode.UNDECODABLE, f"{what}: there is not enough memory to decode it")
    return RowError(RowErrorCode.UNDECODABLE, f"broken {what} ({reason(error)})")
