"""Which detector is meant, loaded once a process; whatever it is, its faces are checked and brought into order."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import ModelError
from emotion_ops.faces.runtime import installed, open_session
from emotion_ops.faces.weights import locate, sha256_of
from emotion_ops.faces.yunet import YuNet

Detector: TypeAlias = Callable[[NDArray[np.uint8]], Any]
"""One of a user's own: uint8 (height, width, 3), RGB, upright → an array of (faces, 5 or more): x, y, width, height
and probability, in pixels of that picture. It is called from several threads, or copies of it in several processes."""

Faces: TypeAlias = NDArray[np.float32]
"""float32 (faces, 5): x, y, width, height, probability, each box inside the picture, the largest first."""


def find_faces(
    picture: Image.Image,
    detector: str | Detector | None = None,
    *,
    threshold: float = 0.7,
    min_size: float = 0,
    most: int | None = None,
) -> Faces:
    """The faces in a picture, the largest first; of equal ones the more probable, then the one further up and left.

    Args:
        picture: An upright RGB picture.
        detector: The path of a YuNet file, a callable (see ``Detector``), or None: YuNet from the hub.
        threshold: The least probability of a face.
        min_size: The least length of the shorter side of a box, in pixels of the picture.
        most: How many faces at the most; None gives all.

    Returns:
        See ``Faces``. Boxes are cut at the picture's edges; what lies outside is no face.

    Raises:
        ModelError: The detector cannot be used, or answers with what are no faces.
        MissingDependencyError: No runtime for YuNet is installed.
    """
    if detector is None or isinstance(detector, str):
        found = yunet(detector, threshold)(picture)
    else:
        found = _checked(detector(np.asarray(picture)), detector)
    return in_order(found[:, :5], picture.size, threshold, min_size, most)


def in_order(found: Faces, size: tuple[int, int], threshold: float, min_size: float, most: int | None) -> Faces:
    """Faces of any detector, cut at the edges of a picture of (width, height), chosen and ordered."""
    edge = np.array(size, np.float32)
    start = np.clip(found[:, :2], 0, edge)
    end = np.clip(found[:, :2] + found[:, 2:4], 0, edge)
    faces = np.concatenate([start, end - start, found[:, 4:5]], axis=1).astype(np.float32)
    shorter = faces[:, 2:4].min(axis=1, initial=np.inf)
    faces = faces[(shorter > 0) & (shorter >= min_size) & (faces[:, 4] >= np.float32(threshold))]
    area = faces[:, 2] * faces[:, 3]
    order = np.lexsort((faces[:, 0], faces[:, 1], -faces[:, 4], -area))
    ordered: Faces = faces[order][:most]
    return ordered


def yunet(detector: str | None, threshold: float) -> YuNet:
    """YuNet of a file, loaded once a process and anew where the file was touched.

    Raises:
        ModelError: The file is not there or cannot be used.
        MissingDependencyError: No runtime for it is installed.
    """
    path = locate(detector)
    status = path.stat()
    return _yunet(path, (status.st_size, status.st_mtime_ns, status.st_ino), installed(), threshold)


def prepare(detector: str | Detector | None, threshold: float) -> None:
    """Load a detector, so that what cannot be used is told before any picture; raises as ``find_faces`` does."""
    if detector is None or isinstance(detector, str):
        yunet(detector, threshold)


def identity_of(detector: str | Detector | None) -> str:
    """What a detector's faces depend on, as text: the hash of its weights, or the name of a callable.

    Raises:
        ModelError: Its file is not there.
    """
    if detector is None or isinstance(detector, str):
        return f"yunet sha256:{sha256_of(locate(detector))}"
    named = detector if hasattr(detector, "__qualname__") else type(detector)
    said = "" if named is detector or " at 0x" in repr(detector) else f" {detector!r}"
    return f"{named.__module__}.{named.__qualname__}{said}"


@functools.lru_cache(maxsize=4)
def _yunet(path: Path, stamp: object, runtime: str, threshold: float) -> YuNet:
    return YuNet(open_session(path, runtime), threshold, str(path))


def _checked(answer: Any, detector: Detector) -> Faces:
    try:
        found = np.asarray(answer, dtype=np.float32)
    except (TypeError, ValueError):
        found = np.empty((1, 0), np.float32)
    if found.size == 0 and found.shape[:1] == (0,):
        return np.empty((0, 5), np.float32)
    if found.ndim != 2 or found.shape[1] < 5 or not np.isfinite(found[:, :5]).all():
        raise ModelError(
            repr(detector),
            f"its answer is no array of faces (shape {found.shape})",
            "give an array of (faces, 5 or more): x, y, width, height and probability, all of them numbers",
        )
    return found


if hasattr(os, "register_at_fork"):  # a runtime's threads are not there in a child
    os.register_at_fork(after_in_child=_yunet.cache_clear)
