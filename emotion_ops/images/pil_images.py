"""Pictures that the caller opened with Pillow: objects that are not ours, and that no two threads may read at once.

``Image.open`` reads a header. The first who wants a pixel has the picture seek in its file, decode, and keep the
pixels for as long as it lives. Several rows may hold one picture, and several pictures one file.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from PIL import Image

from emotion_ops.images.decode import READERS, open_encoded, orientation_of
from emotion_ops.images.limits import Limits
from emotion_ops.io.bounded import Reserve

_reading = threading.Lock()


def reading() -> threading.Lock:
    """Held while a picture of the caller's is read: one lock for all, as nobody knows which share a file."""
    return _reading


def _renew() -> None:
    global _reading
    _reading = threading.Lock()


if hasattr(os, "register_at_fork"):  # a thread of the parent may have held it, and is not there to let go of it
    os.register_at_fork(after_in_child=_renew)


def encoded_of(picture: Image.Image, limits: Limits, reserve: Reserve) -> bytes | None:
    """The file of a picture that has not been read yet, so that it can be decoded as any file is.

    The picture stays unread: no pixels live in it afterwards.

    Args:
        picture: A picture of the caller's.
        limits: What an image may cost.
        reserve: Called with the number of bytes before they are read.

    Returns:
        None where there is no file, or it would not give the same picture (a later frame, a draft, edited
        metadata): then it is the picture itself that must be read.

    Raises:
        RowError: The file is beyond the limits, or broken.
    """
    with reading():
        size = _size_of_file(picture)
    if size is None:
        return None
    limits.admit_bytes(size)
    reserve(size)
    with reading():
        encoded = _file(picture, size)
    if encoded is None:
        return None
    again = open_encoded(encoded, limits)
    with reading():
        return encoded if _alike(again, picture) else None


def _size_of_file(picture: Image.Image) -> int | None:
    file = getattr(picture, "fp", None)
    if file is None or getattr(picture, "_im", picture) is not None or type(picture) not in READERS.values():
        return None
    try:
        position = file.tell()
        size: int = file.seek(0, os.SEEK_END)
        file.seek(position)
        return size if picture.tell() == 0 else None
    except Exception:  # whatever a caller's own file object does; the picture itself is left to say what is wrong
        return None


def _file(picture: Any, size: int) -> bytes | None:
    try:
        position = picture.fp.tell()
        picture.fp.seek(0)
        encoded = picture.fp.read(size)
        picture.fp.seek(position)
    except Exception:  # likewise
        return None
    return encoded if isinstance(encoded, bytes) and len(encoded) == size else None


def _alike(again: Image.Image, picture: Image.Image) -> bool:
    if (again.size, again.mode, again.info) != (picture.size, picture.mode, picture.info):
        return False
    # Asking a PNG or TIFF for its orientation would read it; whose EXIF was parsed already may have been edited.
    return getattr(picture, "_exif", None) is None or orientation_of(picture) == orientation_of(again)
