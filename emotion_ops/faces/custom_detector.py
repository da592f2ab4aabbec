"""A detector of the user's own: what it may return, and the check of what it returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import ModelError

Detector: TypeAlias = Callable[[NDArray[np.uint8]], Any]
"""A detector of the user's own: uint8 (height, width, 3), RGB, upright → an array of (faces, 5 or more): x, y, width,
height and probability, in pixels of that image. It is called from several threads, or copies of it in several
processes."""


def run_custom_detector(detector: Detector, image: Image.Image) -> NDArray[np.float32]:
    """The faces that a user's own detector finds, checked: float32 (faces, 5 or more).

    Raises:
        ModelError: It returned something else than faces.
        Exception: Whatever the detector raises.
    """
    result = detector(np.asarray(image))
    try:
        array = np.asarray(result)
        with np.errstate(over="ignore"):
            found = np.empty((), np.float32) if array.dtype.kind not in "biufO" else array.astype(np.float32)
    except Exception as error:  # of the result's own type, for example an array on a GPU
        raise _not_faces(detector, f"{type(error).__name__}: {error}") from error
    if found.shape == (0,):
        return np.empty((0, 5), np.float32)
    if found.ndim != 2 or found.shape[1] < 5 or not np.isfinite(found[:, :5]).all():
        raise _not_faces(detector, f"shape {array.shape}, {array.dtype}")
    probability = found[:, 4]
    if ((probability < 0) | (probability > 1 + 1e-6)).any():  # rounding may bring it above 1
        wrong = float(probability[np.argmax(np.abs(probability - 0.5))])
        raise _not_faces(detector, f"a probability of {wrong:g} is not in 0 to 1")
    found[:, 4] = np.minimum(probability, 1)
    return found


def _not_faces(detector: Detector, why: str) -> ModelError:
    hint = "return an array of (faces, 5 or more): x, y, width, height and probability, all of them numbers"
    return ModelError(repr(detector), f"its result is not an array of faces ({why})", hint, kind="detector")
