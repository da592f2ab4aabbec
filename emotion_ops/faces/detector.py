"""The option ``detector`` → a loaded detector, and the function that finds faces in one image."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import OptionError
from emotion_ops.faces.custom_detector import Detector, run_custom_detector
from emotion_ops.faces.decoding import COLUMNS
from emotion_ops.faces.order import FaceBoxes, sort_faces
from emotion_ops.faces.runtime import OnnxNetwork, choose_runtime, load_onnx
from emotion_ops.faces.weights import PinnedFile, check_weights, file_sha256, read_weights, resolve_weights
from emotion_ops.faces.yunet import YuNet
from emotion_ops.options import fraction, number, optional, whole_number

DetectorOption: TypeAlias = str | PinnedFile | Detector | None
"""The path of a YuNet file, one with known content, a callable, or None: YuNet from the hub."""

LoadedDetector: TypeAlias = Callable[[Image.Image], NDArray[np.float32]]
"""An upright RGB image → float32 (faces, 5 or more), as ``FaceBoxes`` but not ordered, and boxes may reach over the
image's edges."""


def find_faces(
    image: Image.Image,
    detector: str | os.PathLike[str] | Detector | None = None,
    *,
    threshold: float = 0.7,
    min_size: float = 0,
    max_faces: int | None = None,
    landmarks: bool = False,
) -> FaceBoxes:
    """The faces in an image, the largest first; of equal ones the more probable, then further up, then further left.

    Args:
        image: An upright image; it is converted to RGB.
        detector: The path of a YuNet file, a callable (see ``custom_detector.Detector``), or None: YuNet from the hub.
        threshold: Minimum probability of a face, 0 to 1.
        min_size: Minimum length of the shorter side of a box, in pixels of the image.
        max_faces: Maximum number of faces, 1 or more; None gives all.
        landmarks: Ten more columns: x and y of right eye, left eye, nose tip, and right and left corner of the mouth,
            right and left as the person in the image has them. They may be outside of a box that was cut at an edge.
            They are NaN if a callable returns fewer than 15 columns.

    Returns:
        float32 (faces, 5), with landmarks (faces, 15): x, y, width, height, probability. Boxes are cut at the image's
        edges; a box outside of the image is dropped.

    Raises:
        OptionError: An argument has a value that cannot be used.
        ModelError: The detector cannot be used, or returns something else than faces.
        MissingDependencyError: No runtime for YuNet is installed.
    """
    given: object = image
    if not isinstance(given, Image.Image):
        hint = "give an upright PIL image; PIL.Image.fromarray makes one of uint8 pixels"
        raise OptionError("image", type(image).__name__, hint)
    threshold = fraction("threshold", threshold)
    min_size = number("min_size", min_size, lambda one: one >= 0, "give a number of at least 0")
    max_faces = optional(whole_number)("max_faces", max_faces)
    find = open_detector(check_detector("detector", detector), threshold)
    found = find(image if image.mode == "RGB" else image.convert("RGB"))
    columns = COLUMNS if landmarks else 5
    if found.shape[1] < columns:
        found = np.pad(found[:, :5], ((0, 0), (0, columns - 5)), constant_values=np.nan)
    return sort_faces(found[:, :columns], image.size, threshold, min_size, max_faces)


def check_detector(name: str, value: Any) -> DetectorOption:
    """A check for ``option``: a detector; a path becomes text. Nothing is loaded.

    Args:
        name: The option's name, for messages.
        value: The value.

    Raises:
        OptionError: It is neither a path nor a callable, or cannot be hashed.
    """
    if value is None or isinstance(value, str | PinnedFile):
        return cast("DetectorOption", value)
    if isinstance(value, os.PathLike):
        return cast("str", os.fspath(value))
    if not callable(value):
        raise OptionError(name, value, "give the path of a YuNet file, or a callable")
    try:
        hash(value)
    except TypeError as error:
        hint = f"it cannot be hashed ({error}): give a function, or an object with __eq__ and __hash__"
        raise OptionError(name, value, hint) from error
    return cast("DetectorOption", value)


def pin_detector(detector: DetectorOption) -> DetectorOption:
    """The same detector, pinned: of a local file its content today, so that another content will be refused."""
    if isinstance(detector, str) and (path := Path(detector)).is_file():
        return PinnedFile(detector, file_sha256(path))
    return detector


def open_detector(detector: DetectorOption, threshold: float) -> LoadedDetector:
    """Load a detector; later changes of its file do not affect it.

    Raises:
        ModelError: It cannot be used.
        MissingDependencyError: No runtime for YuNet is installed.
    """
    if detector is None or isinstance(detector, str | PinnedFile):
        return load_yunet(detector, threshold)
    return functools.partial(run_custom_detector, detector)


def load_yunet(detector: str | PinnedFile | None, threshold: float) -> YuNet:
    """YuNet from a file, loaded once for each process, and again after its file was modified.

    Raises:
        ModelError: The file does not exist, cannot be used, or does not have the expected content.
        MissingDependencyError: No runtime is installed; that is found before the hub is asked for the file.
    """
    runtime = choose_runtime()
    path = resolve_weights(detector)
    status = path.stat()
    stamp = status.st_size, status.st_mtime_ns, status.st_ino
    network, sha256 = _load(os.getpid(), path, stamp, runtime)
    check_weights(detector, path, sha256)
    return YuNet(network, threshold, str(path))


@functools.lru_cache(maxsize=4)
def _load(process: int, path: Path, stamp: object, runtime: str) -> tuple[OnnxNetwork, str]:
    """A file's network and the SHA-256 of what it was made of; a forked process loads its own."""
    content, sha256 = read_weights(path)
    network = load_onnx(content, runtime, str(path))
    YuNet(network, 0.7, str(path))(Image.new("RGB", (64, 64)))  # fails now, before any row, if it takes no images
    return network, sha256
