"""An encoded image → the pixels that a network takes. The same value runs in a thread and in a child process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import EmotionOpsError, RowError, RowErrorCode
from emotion_ops.images.decoding import DecodeMode
from emotion_ops.images.formats import exif_orientation, open_encoded
from emotion_ops.images.limits import Limits
from emotion_ops.images.resize import Resize
from emotion_ops.images.rgb import NO_LOCK, upright_rgb
from emotion_ops.images.scaled import scale_down
from emotion_ops.io.bounded import Reserve
from emotion_ops.io.redact import reason

Transform: TypeAlias = Callable[[Image.Image], NDArray[np.uint8]]
"""An upright RGB image → an array, uint8 (height, width, 3) for example. See ``MeasuredTransform``."""

Decoder: TypeAlias = Callable[[bytes | memoryview, Reserve], NDArray[np.uint8]]
"""An encoded image → uint8 (height, width, 3); raises ``RowError``."""

_BYTES_PER_PIXEL = {"WEBP": 22, "AVIF": 18}
_OTHER_FORMATS = 13


@runtime_checkable
class MeasuredTransform(Protocol):
    """A transform that says how much memory it needs. The memory of other transforms is not counted."""

    def __call__(self, image: Image.Image, /) -> NDArray[np.uint8]:
        """See ``Transform``."""

    def peak(self, width: int, height: int) -> int:
        """Maximum bytes in use for an image of this size; raises ``RowError`` if the image is ``too_large``."""


@dataclass(frozen=True)
class ImageDecoder:
    """Decodes an image, turns it upright and transforms it.

    Attributes:
        limits: What an image may cost.
        transform: What is done with the upright RGB image; None returns all pixels.
        mode: ``fast`` decodes a JPEG at a part of its size if that is enough for a ``Resize``.
    """

    limits: Limits
    transform: Transform | None
    mode: DecodeMode = "exact"

    def __call__(self, encoded: bytes | memoryview, reserve: Reserve) -> NDArray[np.uint8]:
        """Decode one image; raises ``RowError``."""
        return self.decode(open_encoded(encoded, self.limits), reserve)

    def decode(
        self, image: Image.Image, reserve: Reserve, lock: contextlib.AbstractContextManager[Any] = NO_LOCK
    ) -> NDArray[np.uint8]:
        """Decode an image that is open.

        Args:
            image: An image within the limits.
            reserve: Called with the memory that it takes, before it is decoded.
            lock: See ``upright_rgb``. An image with a lock belongs to the caller, and is decoded exactly.

        Raises:
            RowError: The image cannot be decoded or transformed.
        """
        full_pixels, transform = image.width * image.height, self.transform
        if self.mode == "fast" and lock is NO_LOCK and isinstance(self.transform, Resize):
            transform = scale_down(image, self.transform) or self.transform
        reserve(peak_bytes(image, self.transform, full_pixels))
        return apply_transform(upright_rgb(image, lock), transform)


def apply_transform(image: Image.Image, transform: Transform | None) -> NDArray[np.uint8]:
    """Transform an upright RGB image. Any exception of the transform becomes a ``RowError``."""
    if transform is None:
        return np.asarray(image)
    try:
        return transform(image)
    except EmotionOpsError:  # the row's own error, or an error of the detector, for example
        raise
    except Exception as error:  # a checkpoint's own processor raises any exception
        code = RowErrorCode.TOO_LARGE if isinstance(error, MemoryError) else RowErrorCode.UNDECODABLE
        what = f"{image.width:,} × {image.height:,} pixels could not be resized ({reason(error)})"
        raise RowError(code, what) from error


def peak_bytes(image: Image.Image, transform: Transform | None, full_pixels: int) -> int:
    """Maximum bytes in use while an image is decoded and transformed, copies included, as measured.

    Args:
        image: An open image, decoded or not.
        transform: What is done with it.
        full_pixels: Its number of pixels before it was scaled down.

    Raises:
        RowError: ``too_large``; see ``Resize.resized_size``.
    """
    pixels = image.width * image.height
    peak = pixels * _bytes_per_pixel(image)
    if full_pixels > pixels and image.info.get("progressive"):
        peak += (full_pixels - pixels) * (8 if image.mode == "CMYK" else 6)  # coefficients of all pixels
    if transform is None:
        return peak + pixels * 12  # an array, its bytes, the message, and what the other process receives
    return peak + transform_bytes(transform, image.width, image.height)


def transform_bytes(transform: Transform, width: int, height: int) -> int:
    """Maximum bytes that a transform needs for an image of this size; 0 if it does not say."""
    return transform.peak(width, height) if isinstance(transform, MeasuredTransform) else 0


def _bytes_per_pixel(image: Image.Image) -> int:
    """Pillow's RGB takes 4, and so does each copy: turned upright, converted."""
    if image.format != "JPEG":
        return _BYTES_PER_PIXEL.get(image.format or "", _OTHER_FORMATS)
    if image.mode == "CMYK":
        return 12
    if image.info.get("progressive"):
        return 10  # libjpeg keeps the coefficients of all pixels
    return 5 if exif_orientation(image) == 1 and image.mode == "RGB" else 8
