"""An encoded image → the pixels that the network takes: one value, run by a thread or by a worker process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import EmotionOpsError, RowError, RowErrorCode
from emotion_ops.images.decode import AT_ONCE, open_encoded, orientation_of, upright_rgb
from emotion_ops.images.decoding import DecodeMode
from emotion_ops.images.limits import Limits
from emotion_ops.images.preprocess import Resize
from emotion_ops.images.scaled import scale_down
from emotion_ops.io.bounded import Reserve
from emotion_ops.io.redact import reason

Transform: TypeAlias = Callable[[Image.Image], NDArray[np.uint8]]
"""An upright RGB picture → uint8 (height, width, 3). See ``MeasuredTransform``."""

Decoder: TypeAlias = Callable[[bytes | memoryview, Reserve], NDArray[np.uint8]]
"""An encoded image → uint8 (height, width, 3), or ``RowError``."""

_PEAK = {"WEBP": 22, "AVIF": 18}


@runtime_checkable
class MeasuredTransform(Protocol):
    """A transform that says what it fills beside the picture; another's is not counted."""

    def __call__(self, picture: Image.Image, /) -> NDArray[np.uint8]:
        """See ``Transform``."""

    def peak(self, width: int, height: int) -> int:
        """Bytes at the worst moment, for a picture of this size; raises ``RowError`` where that is ``too_large``."""


@dataclass(frozen=True)
class PictureDecoder:
    """Decode, turn upright and bring to size.

    Attributes:
        limits: What an image may cost.
        transform: Brings it to the network's size; None leaves it as it is.
        mode: ``fast`` decodes a JPEG at a part of its size where that is enough for a ``Resize``.
    """

    limits: Limits
    transform: Transform | None
    mode: DecodeMode = "exact"

    def __call__(self, encoded: bytes | memoryview, reserve: Reserve) -> NDArray[np.uint8]:
        """Decode one image; raises ``RowError``."""
        return self.finish(open_encoded(encoded, self.limits), reserve)

    def finish(
        self,
        picture: Image.Image,
        reserve: Reserve,
        reading: contextlib.AbstractContextManager[Any] = AT_ONCE,
    ) -> NDArray[np.uint8]:
        """Do all but the opening.

        Args:
            picture: A picture within the limits.
            reserve: Told of the memory; see ``Reserve``.
            reading: As ``upright_rgb`` takes it; a picture that is guarded is somebody's, and is decoded whole.

        Raises:
            RowError: The picture cannot be decoded or brought to size.
        """
        whole, transform = picture.width * picture.height, self.transform
        if self.mode == "fast" and reading is AT_ONCE and isinstance(self.transform, Resize):
            transform = scale_down(picture, self.transform) or self.transform
        reserve(peak_of(picture, self.transform, whole))
        return resized(upright_rgb(picture, reading), transform)


def resized(picture: Image.Image, transform: Transform | None) -> NDArray[np.uint8]:
    """Bring a decoded picture to size; whatever a transform raises is that picture's ``RowError``."""
    if transform is None:
        return np.asarray(picture)
    try:
        return transform(picture)
    except EmotionOpsError:  # the picture's own error, or one of what the transform is made of
        raise
    except Exception as error:  # a checkpoint's own processor raises what it likes
        code = RowErrorCode.TOO_LARGE if isinstance(error, MemoryError) else RowErrorCode.UNDECODABLE
        what = f"{picture.width:,} × {picture.height:,} pixels could not be resized ({reason(error)})"
        raise RowError(code, what) from error


def peak_of(picture: Image.Image, transform: Transform | None, whole: int) -> int:
    """Bytes that decoding a picture and bringing it to size fill at the worst moment, copies included, as measured.

    Args:
        picture: Its header; or one that is decoded, of which copies are made at the most.
        transform: What resizes it.
        whole: Its pixels before it was scaled down, if it was.

    Raises:
        RowError: ``too_large``; see ``Resize.resized``.
    """
    pixels = picture.width * picture.height
    peak = pixels * _bytes_a_pixel(picture)
    if whole > pixels and picture.info.get("progressive"):
        peak += (whole - pixels) * (8 if picture.mode == "CMYK" else 6)  # coefficients of what is left out
    if transform is None:
        return peak + pixels * 12  # an array, its bytes, the message, and what the other side receives
    return peak + peak_beside(transform, picture.width, picture.height)


def peak_beside(transform: Transform, width: int, height: int) -> int:
    """Bytes that a transform fills beside a picture of this size, where it tells; see ``MeasuredTransform``."""
    return transform.peak(width, height) if isinstance(transform, MeasuredTransform) else 0


def _bytes_a_pixel(picture: Image.Image) -> int:
    """Pillow's RGB takes 4, and so does each copy on the way: turned upright, converted."""
    if picture.format != "JPEG":
        return _PEAK.get(picture.format or "", 13)
    if picture.mode == "CMYK":
        return 12
    if picture.info.get("progressive"):
        return 10  # libjpeg keeps the coefficients of all pixels
    return 5 if orientation_of(picture) == 1 and picture.mode == "RGB" else 8
