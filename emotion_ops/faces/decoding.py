"""What YuNet's network gives → faces: anchor-free boxes of three strides, the best of those that overlap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

STRIDES = (8, 16, 32)
"""Pixels between the places that each of the network's three maps looks at."""

COLUMNS = 15
"""Numbers of a face: x, y, width, height, probability, and x and y of right eye, left eye, nose tip, right and left
corner of the mouth (of the person seen)."""


def decoded(outputs: Mapping[str, Floats], columns: int, threshold: float) -> Floats:
    """Every place that may be a face, before overlapping ones are put together.

    Args:
        outputs: By name, ``cls_8`` to ``kps_32``, for one picture: (places, numbers).
        columns: The network's input width; its places go row by row.
        threshold: The least probability of a face.

    Returns:
        float32 (faces, ``COLUMNS``), in pixels of the network's input; in no order.
    """
    found = []
    for stride in STRIDES:
        known, there = (np.clip(outputs[f"{name}_{stride}"].reshape(-1), 0.0, 1.0) for name in ("cls", "obj"))
        probability = np.sqrt(known * there)
        places = np.flatnonzero(probability >= threshold)
        row, column = np.divmod(places, columns // stride)
        at = np.stack([column, row], axis=1).astype(np.float32)
        box = outputs[f"bbox_{stride}"].reshape(-1, 4)[places]
        points = outputs[f"kps_{stride}"].reshape(-1, 5, 2)[places]
        with np.errstate(over="ignore"):
            size = np.exp(box[:, 2:]) * stride
        start = (at + box[:, :2]) * stride - size / 2
        landmarks = (points + at[:, np.newaxis]) * stride
        parts = [start, size, probability[places, np.newaxis], landmarks.reshape(-1, 10)]
        found.append(np.concatenate(parts, axis=1).astype(np.float32))
    faces = np.concatenate(found)
    return faces[np.isfinite(faces).all(axis=1)]


def without_overlaps(faces: Floats, overlap: float) -> Floats:
    """The most probable of faces that overlap (non-maximum suppression), the most probable first.

    Args:
        faces: float32 (faces, ``COLUMNS``).
        overlap: What two boxes may share of what both cover together, 0 to 1.
    """
    faces = faces[np.argsort(-faces[:, 4], kind="stable")]
    kept: list[int] = []
    left = np.arange(len(faces))
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[_shared(faces[best], faces[left]) <= overlap]
    return faces[kept]


def _shared(face: Floats, others: Floats) -> Floats:
    """The part that a box shares with each other one of what both cover."""
    start = np.maximum(face[:2], others[:, :2])
    end = np.minimum(face[:2] + face[2:4], others[:, :2] + others[:, 2:4])
    common = np.clip(end - start, 0, None).prod(axis=1)
    both = face[2] * face[3] + others[:, 2] * others[:, 3] - common
    shared: Floats = np.divide(common, both, out=np.zeros_like(common), where=both > 0)
    return shared
