"""Which detector is meant, loaded once a process; whatever it is, its faces are checked and brought into order."""

from __future__ import annotations

import functools
import math
import numbers
import operator
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import ModelError, OptionError
from emotion_ops.faces.decoding import COLUMNS
from emotion_ops.faces.runtime import Session, installed, open_session
from emotion_ops.faces.weights import DetectorFile, check, locate, read, sha256_of
from emotion_ops.faces.yunet import YuNet

Detector: TypeAlias = Callable[[NDArray[np.uint8]], Any]
"""One of a user's own: uint8 (height, width, 3), RGB, upright → an array of (faces, 5 or more): x, y, width, height
and probability, in pixels of that picture. It is called from several threads, or copies of it in several processes."""

Faces: TypeAlias = NDArray[np.float32]
"""float32 (faces, 5): x, y, width, height, probability, each box inside the picture, the largest first."""

Find: TypeAlias = Callable[[Image.Image], NDArray[np.float32]]
"""A detector that is loaded: an upright RGB picture → float32 (faces, 5 or more), as ``Faces`` but in no order, and
boxes may reach over the picture's edges."""


def find_faces(
    picture: Image.Image,
    detector: str | os.PathLike[str] | Detector | None = None,
    *,
    threshold: float = 0.7,
    min_size: float = 0,
    most: int | None = None,
    landmarks: bool = False,
) -> Faces:
    """The faces in a picture, the largest first; of equal ones the more probable, then the one further up and left.

    Args:
        picture: An upright picture; what is not RGB is converted.
        detector: The path of a YuNet file, a callable (see ``Detector``), or None: YuNet from the hub.
        threshold: The least probability of a face, 0 to 1.
        min_size: The least length of the shorter side of a box, in pixels of the picture.
        most: How many faces at the most, 1 or more; None gives all.
        landmarks: Ten more columns: x and y of right eye, left eye, nose tip, and right and left corner of the mouth,
            right and left as the person seen has them. They may lie outside of a box that was cut at an edge, and are
            NaN where a callable answers with fewer than 15 columns.

    Returns:
        See ``Faces``. Boxes are cut at the picture's edges; what lies outside is no face.

    Raises:
        OptionError: An argument has a value that cannot work.
        ModelError: The detector cannot be used, or answers with what are no faces.
        MissingDependencyError: No runtime for YuNet is installed.
    """
    given: object = picture
    if not isinstance(given, Image.Image):
        hint = "give an upright PIL image; PIL.Image.fromarray makes one of uint8 pixels"
        raise OptionError("picture", type(picture).__name__, hint)
    threshold, min_size = _number("threshold", threshold, 1.0), _number("min_size", min_size, math.inf)
    find = opened(detector_of(detector), threshold)
    found = find(picture if picture.mode == "RGB" else picture.convert("RGB"))
    columns = COLUMNS if landmarks else 5
    if found.shape[1] < columns:
        found = np.pad(found[:, :5], ((0, 0), (0, columns - 5)), constant_values=np.nan)
    return in_order(found[:, :columns], picture.size, threshold, min_size, _count("most", most))


def detector_of(value: str | os.PathLike[str] | Callable[..., Any] | None) -> str | DetectorFile | Detector | None:
    """A detector as an option gives it: a path becomes text.

    Raises:
        OptionError: It is neither path nor callable, or cannot be hashed.
    """
    if value is None or isinstance(value, str | DetectorFile):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not callable(value):
        raise OptionError("detector", value, "give a path of a YuNet file, or a callable")
    try:
        hash(value)
    except TypeError as error:
        hint = f"it cannot be hashed ({error}): give a function, or an object with __eq__ and __hash__"
        raise OptionError("detector", value, hint) from error
    return value


def settled(detector: str | DetectorFile | Detector | None) -> str | DetectorFile | Detector | None:
    """The same detector; of a file that is here what it holds now, so that no other content will do ever after."""
    if isinstance(detector, str) and (path := Path(detector)).is_file():
        return DetectorFile(detector, sha256_of(path))
    return detector


def opened(detector: str | DetectorFile | Detector | None, threshold: float) -> Find:
    """Load a detector; what it gives goes on as it is, whatever becomes of its file.

    Raises:
        ModelError: It cannot be used.
        MissingDependencyError: No runtime for YuNet is installed.
    """
    if detector is None or isinstance(detector, str | DetectorFile):
        return yunet(detector, threshold)
    return functools.partial(_asked, detector)


def in_order(found: Faces, size: tuple[int, int], threshold: float, min_size: float, most: int | None) -> Faces:
    """Faces of any detector, cut at the edges of a picture of (width, height), chosen and ordered.

    Columns beyond the five come along as they are.
    """
    edge = np.array(size, np.float32)
    start = np.clip(found[:, :2], 0, edge)
    with np.errstate(over="ignore"):
        end = np.clip(found[:, :2] + found[:, 2:4], 0, edge)
    faces = np.concatenate([start, end - start, found[:, 4:]], axis=1).astype(np.float32)
    shorter = faces[:, 2:4].min(axis=1, initial=np.inf)
    faces = faces[(shorter > 0) & (shorter >= min_size) & (faces[:, 4] >= np.float32(threshold))]
    ordered: Faces = faces[np.lexsort(order_keys(faces))][:most]
    return ordered


def order_keys(faces: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """What ``numpy.lexsort`` brings faces (faces, 5 or more) into order by; see ``find_faces``."""
    x, y, width, height, probability = faces[:, :5].astype(np.float64).T  # areas are exact so
    return width, x, y, -probability, -width * height


def yunet(detector: str | DetectorFile | None, threshold: float) -> YuNet:
    """YuNet of a file, loaded once a process and anew where the file was touched.

    Raises:
        ModelError: The file is not there, cannot be used, or is not the one that is meant.
        MissingDependencyError: No runtime for it is installed.
    """
    path = locate(detector)
    status = path.stat()
    stamp = status.st_size, status.st_mtime_ns, status.st_ino
    session, sha256 = _loaded(os.getpid(), path, stamp, installed())
    check(detector, path, sha256)
    return YuNet(session, threshold, str(path))


@functools.lru_cache(maxsize=4)
def _loaded(process: int, path: Path, stamp: object, runtime: str) -> tuple[Session, str]:
    """A file's network and the hash of what it was made of; a child process has its own."""
    content, sha256 = read(path)
    session = open_session(content, runtime, str(path))
    YuNet(session, 0.7, str(path))(Image.new("RGB", (64, 64)))  # what takes no pictures is told here, before any row
    return session, sha256


def _asked(detector: Detector, picture: Image.Image) -> NDArray[np.float32]:
    """What a detector of a user's own says of a picture, checked; raises what it raises."""
    answer = detector(np.asarray(picture))
    try:
        array = np.asarray(answer)
        with np.errstate(over="ignore"):
            found = np.empty((), np.float32) if array.dtype.kind not in "biufO" else array.astype(np.float32)
    except Exception as error:  # of the answer's own type: an array on another device, say
        raise _no_faces(detector, f"its answer is no array of faces ({type(error).__name__}: {error})") from error
    if found.shape == (0,):
        return np.empty((0, 5), np.float32)
    if found.ndim != 2 or found.shape[1] < 5 or not np.isfinite(found[:, :5]).all():
        raise _no_faces(detector, f"its answer is no array of faces (shape {array.shape}, {array.dtype})")
    probability = found[:, 4]
    if ((probability < 0) | (probability > 1 + 1e-6)).any():  # above 1 by its own rounding
        wrong = float(probability[np.argmax(np.abs(probability - 0.5))])
        raise _no_faces(detector, f"its answer is no array of faces: a probability of {wrong:g} is not in 0 to 1")
    found[:, 4] = np.minimum(probability, 1)
    return found


def _no_faces(detector: Detector, what: str) -> ModelError:
    hint = "give an array of (faces, 5 or more): x, y, width, height and probability, all of them numbers"
    return ModelError(repr(detector), what, hint, kind="detector")


def _number(option: str, value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= most:
        hint = "give a number of at least 0" if most == math.inf else f"give a number from 0 to {most:g}"
        raise OptionError(option, value, hint)
    return float(value)


def _count(option: str, value: Any) -> int | None:
    try:
        number = None if value is None else operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or (number is not None and number < 1):
        raise OptionError(option, value, "give a whole number of at least 1, or None for all")
    return number
