"""What was found of faces → columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from emotion_ops.errors import RowErrorCode
from emotion_ops.operators.classify.columns import FACE, OutputColumns
from emotion_ops.operators.classify.labels import Labelling
from emotion_ops.operators.rows import Answers


def face_columns(answers: Answers, columns: OutputColumns, labelling: Labelling) -> list[pa.Array]:
    """The columns about faces of some rows, as ``OutputColumns.added`` names them.

    Of a row without a face the count is 0 and the list empty; of one that failed otherwise all are null.
    """
    found = answers.faces
    faceless = [error is not None and error.code is RowErrorCode.NO_FACE for error in answers.errors]
    first = np.array([one.boxes[0] if one else [0] * len(FACE) for one in found], np.float32).reshape(-1, len(FACE))
    missing = pa.array([one is None for one in found], pa.bool_())
    box = columns.face_type(answered=False)
    arrays: list[pa.Array] = [
        pa.StructArray.from_arrays([pa.array(part) for part in first.T], fields=list(box), mask=missing),
        pa.array(
            [one.count if one else 0 if no else None for one, no in zip(found, faceless, strict=True)], pa.int32()
        ),
    ]
    if columns.faces == "all":
        there = [one for one in found if one]
        boxes = np.concatenate([np.empty((0, len(FACE)), np.float32), *(one.boxes for one in there)])
        numbers = np.concatenate(
            [np.empty((0, len(columns.labels)), np.float32), *(one.probabilities for one in there)]
        )
        labels, is_sure = labelling.best(numbers)
        parts = [*map(pa.array, boxes.T), pa.array(labels, pa.string(), mask=~is_sure), *map(pa.array, numbers.T)]
        kind = columns.face_type(answered=True)
        values = pa.StructArray.from_arrays(parts, fields=list(kind))
        offsets = np.concatenate([[0], np.cumsum([len(one.boxes) if one else 0 for one in found])])
        unknown = [one is None and not no for one, no in zip(found, faceless, strict=True)]
        of_rows = pa.list_(pa.field("element", kind))
        arrays.append(
            pa.ListArray.from_arrays(
                pa.array(offsets, pa.int32()), values, type=of_rows, mask=pa.array(unknown, pa.bool_())
            )
        )
    return arrays
