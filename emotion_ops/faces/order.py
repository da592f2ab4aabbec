"""The faces of any detector: cut at the image's edges, filtered, the largest first."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FaceBoxes: TypeAlias = NDArray[np.float32]
"""float32 (faces, 5): x, y, width, height, probability, each box inside the image, the largest first."""


def sort_faces(
    found: NDArray[np.float32], size: tuple[int, int], threshold: float, min_size: float, max_faces: int | None
) -> FaceBoxes:
    """Cut boxes at the image's edges, drop those that are too improbable or too small, and order the others.

    The largest is first; of equal ones the more probable, then the one further up, then further left.

    Args:
        found: float32 (faces, 5 or more); further columns stay with their faces, unchanged.
        size: (width, height) of the image.
        threshold: Minimum probability.
        min_size: Minimum length of the shorter side, in pixels.
        max_faces: Maximum number of faces; None is all.
    """
    edge = np.array(size, np.float32)
    start = np.clip(found[:, :2], 0, edge)
    with np.errstate(over="ignore"):
        end = np.clip(found[:, :2] + found[:, 2:4], 0, edge)
    faces = np.concatenate([start, end - start, found[:, 4:]], axis=1).astype(np.float32)
    shorter = faces[:, 2:4].min(axis=1, initial=np.inf)
    faces = faces[(shorter > 0) & (shorter >= min_size) & (faces[:, 4] >= np.float32(threshold))]
    ordered: FaceBoxes = faces[np.lexsort(order_keys(faces))][:max_faces]
    return ordered


def order_keys(faces: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """The keys by which ``numpy.lexsort`` orders faces (faces, 5 or more); see ``sort_faces``."""
    x, y, width, height, probability = faces[:, :5].astype(np.float64).T  # areas are exact in float64
    return width, x, y, -probability, -width * height
