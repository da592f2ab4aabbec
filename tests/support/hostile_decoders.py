"""Decoders that fail as broken native code does, for the tests of ``emotion_ops.images.isolation``.

The bytes say how, for example ``b"abort"``. All other bytes are decoded as the package does.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from emotion_ops.images.decoder import ImageDecoder
from emotion_ops.images.limits import Limits
from emotion_ops.io.bounded import Reserve

_ordinary = ImageDecoder(Limits(), None)
HEAVY = ("torch", "transformers", "pyarrow", "pandas", "huggingface_hub")


def decode(encoded: memoryview, reserve: Reserve) -> np.ndarray:
    act = _ACTS.get(bytes(encoded[:12]))
    return _ordinary(encoded, reserve) if act is None else act()


def _print() -> np.ndarray:
    for file in (1, 2):
        os.write(file, b"\xff" * 10_000)
    print("a line", file=sys.stderr, flush=True)
    return np.zeros((2, 2, 3), np.uint8)


def _fail() -> np.ndarray:
    raise KeyError("a parser's own mistake")


def _modules() -> np.ndarray:
    raise LookupError(", ".join(name for name in ("numpy", "PIL", *HEAVY) if name in sys.modules))


_ACTS: dict[bytes, Callable[[], np.ndarray]] = {
    b"abort": os.abort,
    b"segfault": lambda: ctypes.string_at(0),
    b"hang": lambda: time.sleep(1e6),
    b"spin": lambda: ctypes.PyDLL(None).sleep(1_000_000),  # native code that never releases Python's lock
    b"exit": lambda: os._exit(3),
    b"fill": lambda: np.ones((40_000, 40_000, 3), np.uint8),
    b"nonsense": lambda: np.zeros((5, 5, 1), np.uint8),
    b"print": _print,
    b"raise": _fail,
    b"modules": _modules,
}
