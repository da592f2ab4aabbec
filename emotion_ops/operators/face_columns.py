"""What was found of faces → columns, and a row for each face."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emotion_ops.errors import ColumnNotFoundError, RowErrorCode
from emotion_ops.operators.labelling import Labelling
from emotion_ops.operators.rows import Answers
from emotion_ops.schema import FACE, OutputColumns


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


def explode_faces(table: pa.Table, prefix: str = "emotion") -> pa.Table:
    """One row for each face of a table that ``faces="all"`` was run on.

    Args:
        table: It has the column ``<prefix>_faces``.
        prefix: What the appended names start with.

    Returns:
        The columns that were there before, ``<prefix>`` and ``<prefix>_<label>`` of the face, its box
        ``<prefix>_face``, and ``<prefix>_face_count``. Faces keep their order, the largest of an image first; rows
        without a face are left out.

    Raises:
        ColumnNotFoundError: There is no such column.
    """
    name = f"{prefix}_faces"
    if name not in table.column_names:
        raise ColumnNotFoundError(name, table.column_names)
    table = table.combine_chunks()
    lists = table.column(name).combine_chunks()
    rows, faces = pc.list_parent_indices(lists), pc.list_flatten(lists)
    kind = faces.type
    labels = [field.name for field in kind][len(FACE) + 1 :]
    columns = OutputColumns(tuple(labels), prefix, lists_labels=f"{prefix}_labels" in table.column_names, faces="all")
    kept = [one for one in table.column_names if one not in columns.names]
    out = table.select([*kept]).take(rows)
    label = pa.field(prefix, pa.string(), metadata=table.schema.field(prefix).metadata)
    out = out.append_column(label, pc.struct_field(faces, len(FACE)))
    for place, one in enumerate(labels, len(FACE) + 1):
        out = out.append_column(columns.probabilities[place - len(FACE) - 1], pc.struct_field(faces, place))
        assert kind.field(place).name == one
    parts = [pc.struct_field(faces, place) for place in range(len(FACE))]
    box = pa.StructArray.from_arrays(parts, fields=list(columns.face_type(answered=False)))
    out = out.append_column(columns.face, box)
    return out.append_column(columns.face_count, table.column(columns.face_count).take(rows))
