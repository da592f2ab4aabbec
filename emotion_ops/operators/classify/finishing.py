"""Probabilities → columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.operators.classify.columns import FACE, OutputColumns
from emotion_ops.operators.classify.labels import Labeller
from emotion_ops.operators.rows import PartResults


@dataclass(frozen=True)
class FoundFaces:
    """The faces of an image.

    Attributes:
        boxes: float32 (faces, 5), see ``FACE``: those that are classified, the largest first.
        count: How many were found.
    """

    boxes: NDArray[np.float32]
    count: int


def build_columns(results: Sequence[Any], columns: OutputColumns, labeller: Labeller) -> list[pa.Array]:
    """The appended columns of some rows, but the error column.

    Args:
        results: For each row its probabilities, float32 (labels); or ``PartResults`` of one such array for each face
            with ``FoundFaces`` as context; or its ``RowError``.
        columns: Which columns.
        labeller: Gives the labels.
    """
    failed = np.array([isinstance(result, RowError) for result in results], dtype=bool)
    numbers = np.zeros((len(results), len(columns.labels)), np.float32)
    for row, result in enumerate(results):
        if not failed[row]:
            numbers[row] = result.results[0] if isinstance(result, PartResults) else result
    labels, is_sure = labeller.best(numbers)
    return [
        pa.array(labels, pa.string(), mask=failed | ~is_sure),
        *(pa.array(column, pa.float32(), mask=failed) for column in numbers.T),
        *([labeller.listed(numbers, failed)] if columns.lists_labels else []),
        *([] if columns.faces is None else _face_columns(results, columns, labeller)),
    ]


def _face_columns(results: Sequence[Any], columns: OutputColumns, labeller: Labeller) -> list[pa.Array]:
    """Box, count and list of faces. For ``no_face`` the count is 0 and the list empty; for other errors all null."""
    found = [result.context if isinstance(result, PartResults) else None for result in results]
    faceless = [isinstance(result, RowError) and result.code == RowErrorCode.NO_FACE for result in results]
    first = np.array([one.boxes[0] if one else [0] * len(FACE) for one in found], np.float32).reshape(-1, len(FACE))
    missing = pa.array([one is None for one in found], pa.bool_())
    counts = [one.count if one else 0 if no else None for one, no in zip(found, faceless, strict=True)]
    box = columns.face_type(classified=False)
    arrays = [
        pa.StructArray.from_arrays([pa.array(part) for part in first.T], fields=list(box), mask=missing),
        pa.array(counts, pa.int32()),
    ]
    if columns.faces == "all":
        boxes = np.concatenate([np.empty((0, len(FACE)), np.float32), *(one.boxes for one in found if one)])
        numbers = [face for result in results if isinstance(result, PartResults) for face in result.results]
        matrix = np.array(numbers, np.float32).reshape(-1, len(columns.labels))
        labels, is_sure = labeller.best(matrix)
        parts = [*map(pa.array, boxes.T), pa.array(labels, pa.string(), mask=~is_sure), *map(pa.array, matrix.T)]
        kind = columns.face_type(classified=True)
        values = pa.StructArray.from_arrays(parts, fields=list(kind))
        offsets = np.concatenate([[0], np.cumsum([len(one.boxes) if one else 0 for one in found])])
        unknown = pa.array([one is None and not no for one, no in zip(found, faceless, strict=True)], pa.bool_())
        of_rows = pa.list_(pa.field("element", kind))
        arrays.append(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=of_rows, mask=unknown))
    return arrays
