"""Decoders that do what broken native code does, for the tests of ``emotion_ops.images.isolation``.

The bytes say what: ``b"abort"``, ``b"segfault"``, ``b"hang"``, ``b"spin"``, ``b"fill"``, ``b"shout"``, ``b"nonsense"``,
``b"raise"``. Everything else is decoded as the package does.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

import numpy as np

from emotion_ops.images.decoder import PictureDecoder, Reserve
from emotion_ops.images.limits import Limits

_ordinary = PictureDecoder(Limits(), None)


def decode(encoded: memoryview, reserve: Reserve) -> np.ndarray:
    what = bytes(encoded[:12])
    if what == b"abort":
        os.abort()
    if what == b"segfault":
        ctypes.string_at(0)
    if what == b"hang":
        time.sleep(1e6)
    if what == b"spin":
        ctypes.PyDLL(None).getenv  # noqa: B018
        ctypes.PyDLL(None).sleep(1000000)  # a native loop that never lets go of Python's lock
    if what == b"fill":
        return np.ones((40_000, 40_000, 3), np.uint8)
    if what == b"shout":
        os.write(1, b"\xff" * 10_000)
        os.write(2, b"\xff" * 10_000)
        print("a line", file=sys.stderr, flush=True)
        return np.zeros((2, 2, 3), np.uint8)
    if what == b"nonsense":
        return np.zeros((5, 5, 1), np.uint8)
    if what == b"raise":
        raise KeyError("a parser's own mistake")
    return _ordinary(encoded, reserve)
