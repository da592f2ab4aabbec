"""Images that the caller opened with Pillow: objects that belong to the caller, and that threads must not share.

``Image.open`` reads a header. The first code that needs a pixel makes the image seek in its file, decode, and keep the
pixels for as long as it lives. Several rows may have the same image, and several images the same file.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from PIL import Image

from emotion_ops.images.formats import READERS, exif_orientation, open_encoded
from emotion_ops.images.limits import Limits
from emotion_ops.io.bounded import Reserve

_lock = threading.Lock()


def image_lock() -> threading.Lock:
    """Lock it while an image of the caller is read. One lock for all, because any two images may share a file."""
    return _lock


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # in a forked child, the thread that may have locked it does not exist
    os.register_at_fork(after_in_child=_new_lock)


def read_file(image: Image.Image, limits: Limits, reserve: Reserve) -> bytes | None:
    """Read the file of an image that is not decoded yet, so that it can be decoded like any other file.

    The image itself stays undecoded, so that it keeps no pixels.

    Args:
        image: An image of the caller.
        limits: What an image may cost.
        reserve: Called with the number of bytes before they are read.

    Returns:
        The encoded image. None if there is no file, or it would not give the same image (a later frame, a draft,
        edited metadata): then the image itself must be decoded.

    Raises:
        RowError: The file is over the limits, or broken.
    """
    with image_lock():
        size = _file_size(image)
    if size is None:
        return None
    limits.check_bytes(size)
    reserve(size)
    with image_lock():
        encoded = _read(image, size)
    if encoded is None:
        return None
    reopened = open_encoded(encoded, limits)
    with image_lock():
        return encoded if _is_same(reopened, image) else None


def _file_size(image: Image.Image) -> int | None:
    file = getattr(image, "fp", None)
    if file is None or getattr(image, "_im", image) is not None or type(image) not in READERS.values():
        return None
    try:
        position = file.tell()
        size: int = file.seek(0, os.SEEK_END)
        file.seek(position)
        return size if image.tell() == 0 else None
    except Exception:  # a caller's file object raises any exception; decoding the image then says what is wrong
        return None


def _read(image: Any, size: int) -> bytes | None:
    try:
        position = image.fp.tell()
        image.fp.seek(0)
        encoded = image.fp.read(size)
        image.fp.seek(position)
    except Exception:  # as above
        return None
    return encoded if isinstance(encoded, bytes) and len(encoded) == size else None


def _is_same(reopened: Image.Image, image: Image.Image) -> bool:
    if (reopened.size, reopened.mode, reopened.info) != (image.size, image.mode, image.info):
        return False
    # The orientation is compared only if the EXIF was parsed already, and so may have been edited. Otherwise asking
    # for it would decode a PNG or TIFF.
    return getattr(image, "_exif", None) is None or exif_orientation(image) == exif_orientation(reopened)
