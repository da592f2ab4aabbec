"""The outputs of YuNet's network → faces: anchor-free boxes of three strides, the best of each overlapping group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

STRIDES = (8, 16, 32)
"""Pixels between the cells of each of the network's three grids."""

COLUMNS = 15
"""Numbers of a face: x, y, width, height, probability, and x and y of right eye, left eye, nose tip, right and left
corner of the mouth (right and left as the person in the image has them)."""


def decode_outputs(outputs: Mapping[str, Floats], width: int, threshold: float) -> Floats:
    """Every cell that may be a face; overlapping boxes are not merged yet.

    Args:
        outputs: By name, ``cls_8`` to ``kps_32``, for one image: (cells, numbers).
        width: Width of the network's input; its cells are in row order.
        threshold: Minimum probability of a face.

    Returns:
        float32 (faces, ``COLUMNS``), in pixels of the network's input; not ordered.
    """
    found = []
    for stride in STRIDES:
        is_face, is_object = (np.clip(outputs[f"{name}_{stride}"].reshape(-1), 0.0, 1.0) for name in ("cls", "obj"))
        probability = np.sqrt(is_face * is_object)
        cells = np.flatnonzero(probability >= threshold)
        row, column = np.divmod(cells, width // stride)
        position = np.stack([column, row], axis=1).astype(np.float32)
        box = outputs[f"bbox_{stride}"].reshape(-1, 4)[cells]
        points = outputs[f"kps_{stride}"].reshape(-1, 5, 2)[cells]
        with np.errstate(over="ignore"):
            size = np.exp(box[:, 2:]) * stride
        start = (position + box[:, :2]) * stride - size / 2
        landmarks = (points + position[:, np.newaxis]) * stride
        parts = [start, size, probability[cells, np.newaxis], landmarks.reshape(-1, 10)]
        found.append(np.concatenate(parts, axis=1).astype(np.float32))
    faces = np.concatenate(found)
    return faces[np.isfinite(faces).all(axis=1)]


def suppress_overlaps(faces: Floats, max_overlap: float) -> Floats:
    """Of faces that overlap the most probable one (non-maximum suppression); the most probable face is first.

    Args:
        faces: float32 (faces, ``COLUMNS``).
        max_overlap: Maximum intersection over union of two boxes that are both returned, 0 to 1.
    """
    faces = faces[np.argsort(-faces[:, 4], kind="stable")]
    chosen: list[int] = []
    remaining = np.arange(len(faces))
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        chosen.append(int(best))
        remaining = remaining[_intersection_over_union(faces[best], faces[remaining]) <= max_overlap]
    return faces[chosen]


def _intersection_over_union(face: Floats, others: Floats) -> Floats:
    start = np.maximum(face[:2], others[:, :2])
    end = np.minimum(face[:2] + face[2:4], others[:, :2] + others[:, 2:4])
    common = np.clip(end - start, 0, None).prod(axis=1)
    union = face[2] * face[3] + others[:, 2] * others[:, 3] - common
    ratio: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ratio
