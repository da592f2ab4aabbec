"""Encoded bytes or pixels → one upright RGB picture, or the reason why not.

The picture equals what ``transformers.pipeline`` sees: Pillow's first frame, EXIF orientation applied,
then Pillow's own conversion to RGB (alpha dropped, palette looked up, 16 bits clipped to 8).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from emotion_ops.errors import ImageError, RowErrorCode

Channels = Literal["rgb", "bgr"]

_PLUGINS = (
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    TiffImagePlugin,
    AvifImagePlugin,
)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
"""The formats that are decoded; whatever else Pillow knows is refused."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Limits:
    """What one image may cost, checked before it is decoded.

    Attributes:
        max_bytes: Encoded bytes.
        max_pixels: Width times height.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000


def open_encoded(encoded: bytes | memoryview, limits: Limits) -> Image.Image:
    """Read the header of an encoded image; no pixel is decoded yet.

    Args:
        encoded: A whole image file.
        limits: What it may cost.

    Raises:
        ImageError: ``too_large``, ``unsupported`` (no format of ``FORMATS``) or ``undecodable`` (no bytes, or a
            header that makes no sense).
    """
    if len(encoded) == 0:
        raise ImageError(RowErrorCode.UNDECODABLE, "the image has 0 bytes")
    if len(encoded) > limits.max_bytes:
        raise ImageError(
            RowErrorCode.TOO_LARGE, f"{len(encoded):,} encoded bytes, more than max_bytes={limits.max_bytes:,}"
        )
    stream, start = io.BytesIO(encoded), bytes(encoded[:16])
    for name in FORMATS:
        # Image.open would do, but for its limit on pixels: a global of the whole process, with a warning
        # that no thread can silence for itself. Ours is an option, so the plugin is asked directly.
        factory, accept = Image.OPEN[name]
        if accept is None or accept(start) is not True:
            continue
        stream.seek(0)
        try:
            image = factory(stream, "")
        except Exception as error:  # Pillow's plugins raise whatever their parsers meet
            raise ImageError(RowErrorCode.UNDECODABLE, f"broken {name} header ({_words(error)})") from None
        if image.width * image.height > limits.max_pixels:
            raise ImageError(
                RowErrorCode.TOO_LARGE,
                f"{image.width:,} × {image.height:,} pixels, more than max_pixels={limits.max_pixels:,}",
            )
        return image
    raise ImageError(
        RowErrorCode.UNSUPPORTED,
        f"{len(encoded):,} bytes that begin with {start[:8]!r} are none of {', '.join(FORMATS)}",
    )


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decode a picture, turn it upright by its EXIF orientation and convert it to RGB.

    Args:
        image: A picture of any of Pillow's modes, decoded or not. Its pixels are not changed.

    Raises:
        ImageError: ``undecodable``; the data is truncated or broken.
    """
    try:
        image.load()  # some formats learn their orientation only here, and TIFF turns itself upright
        turn = _UPRIGHT.get(_orientation(image))
        if turn is not None:
            image = image.transpose(turn)
        if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
            image = image.convert("RGBA")  # the same colours, without Pillow's warning on the short way
        return image.convert("RGB")
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet
        name = image.format or image.mode
        raise ImageError(RowErrorCode.UNDECODABLE, f"broken {name} data ({_words(error)})") from None


def picture_of_pixels(pixels: np.ndarray[Any, Any], channels: Channels) -> Image.Image:
    """Take an array of pixels for a picture.

    Args:
        pixels: uint8 of shape (height, width), (height, width, 1), (height, width, 3) or (height, width, 4).
        channels: The order of the colours; alpha is last in both, and is dropped.

    Raises:
        ImageError: ``unsupported``; another dtype or shape, which could only be guessed at.
    """
    shape = pixels.shape
    if (
        pixels.dtype != np.uint8
        or pixels.size == 0
        or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)))
    ):
        raise ImageError(
            RowErrorCode.UNSUPPORTED,
            f"pixels of {pixels.dtype} and shape {shape}; give uint8 of (height, width) or (height, width, 1 | 3 | 4)",
        )
    if len(shape) == 3 and shape[2] == 1:
        pixels = pixels[:, :, 0]
    elif len(shape) == 3:
        pixels = pixels[:, :, 2::-1] if channels == "bgr" else pixels[:, :, :3]
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF that cannot be parsed says nothing of the orientation, and hides no pixel
        return 1
    return orientation


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:160]
