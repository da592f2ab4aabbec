"""An opened image, or an array of pixels → one upright RGB image.

The result equals what ``transformers.pipeline`` gives to a network: Pillow's first frame, turned by its EXIF
orientation, then Pillow's own conversion to RGB (alpha is dropped, palettes are looked up, 16 bits are clipped to 8).
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from PIL import Image

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.decoding import Channels
from emotion_ops.images.formats import decoding_error, exif_orientation
from emotion_ops.images.limits import Limits
from emotion_ops.images.quiet import quiet

NO_LOCK: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
"""The lock of an image that no other thread uses."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright_rgb(image: Image.Image, lock: contextlib.AbstractContextManager[Any] = NO_LOCK) -> Image.Image:
    """Decode an image, turn it upright and convert it to RGB.

    Args:
        image: An image of any mode, decoded or not. Its pixels are not changed.
        lock: Locked while the image object itself may change: while it is decoded and its orientation is read.

    Raises:
        RowError: ``undecodable``: the data is truncated or broken.
    """
    try:
        with quiet():
            with lock:
                image.load()  # some formats know their orientation only now, and TIFF turns itself upright
                transpose = _TRANSPOSE.get(exif_orientation(image))
            if transpose is not None:
                image = image.transpose(transpose)
            if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
                image = image.convert("RGBA")  # the same colours, without Pillow's warning
            return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as error:  # Pillow's plugins raise any exception
        raise decoding_error(f"{image.format or image.mode} data", error) from None


def check_pixels(pixels: np.ndarray[Any, Any], limits: Limits) -> None:
    """Check an array of pixels.

    Args:
        pixels: uint8 of shape (height, width), (height, width, 1), (height, width, 3) or (height, width, 4).
        limits: What an image may cost.

    Raises:
        RowError: ``unsupported`` (another dtype or shape), ``undecodable`` (no pixels) or ``too_large``.
    """
    shape = pixels.shape
    if pixels.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        raise RowError(
            RowErrorCode.UNSUPPORTED,
            f"pixels of {pixels.dtype} and shape {shape}; give uint8 of (height, width) or (height, width, 1 | 3 | 4)",
        )
    limits.check_image(shape[1], shape[0])


def image_from_pixels(pixels: np.ndarray[Any, Any], channels: Channels) -> Image.Image:
    """An RGB image of an array that ``check_pixels`` accepts.

    Args:
        pixels: The array.
        channels: The order of the colours. Alpha is last in both orders, and is dropped.
    """
    shape = pixels.shape
    if len(shape) == 3 and shape[2] == 1:
        pixels = pixels[:, :, 0]
    elif len(shape) == 3:
        pixels = pixels[:, :, 2::-1] if channels == "bgr" else pixels[:, :, :3]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return image if image.mode == "RGB" else image.convert("RGB")
