"""Whether the faces of a row can be what they should be: all of them, in their order, each with its own answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emotion_ops.errors import RowErrorCode
from emotion_ops.faces.detector import order_keys
from emotion_ops.lake.audit.told import Told, floats
from emotion_ops.operators.classify.columns import FACE, OutputColumns
from emotion_ops.operators.classify.labels import Labelling
from emotion_ops.operators.equal_rows import Mask


@dataclass(frozen=True)
class Wanted:
    """Which faces an output was asked for.

    Attributes:
        threshold: The least probability of a face.
        min_size: The least length of a box's shorter side.
        most: How many of an image are answered at the most.
    """

    threshold: float
    min_size: float
    most: int


def wrong_faces(batch: pa.RecordBatch, columns: OutputColumns, labelling: Labelling, wanted: Wanted) -> dict[int, str]:
    """Rows whose face columns no run can have written, each with the first thing that is wrong.

    A row with an answer has a face, and a count of 1 at the least; a row that failed has neither, and the count 0
    beside ``no_face`` alone. A box has sides above 0, and is as large and as probable as was asked for. Of a list of
    faces the first is the row's own answer, the largest come first, each has an answer that can be one, and there are
    as many as were counted, up to the most.

    Args:
        batch: The emotion columns.
        columns: Their names.
        labelling: How labels come of probabilities.
        wanted: Which faces were asked for.
    """
    if columns.faces == "none":
        return {}
    errors = batch.column(columns.error).to_pylist()
    boxes, counts = (batch.column(name).to_pylist() for name in (columns.face, columns.face_count))
    lists = batch.column(columns.all_faces).to_pylist() if columns.faces == "all" else None
    flat = zip(*(batch.column(name).to_pylist() for name in (columns.label, *columns.probabilities)), strict=True)
    wrong = {}
    for row, (error, box, count, answer) in enumerate(zip(errors, boxes, counts, flat, strict=True)):
        told = lists[row] if lists is not None else None
        if error is not None:
            is_faceless = str(error).partition(":")[0] == RowErrorCode.NO_FACE
            none: tuple[int | None, list[Any] | None] = (
                (0, None if lists is None else []) if is_faceless else (None, None)
            )
            if box is not None or (count, told) != none:
                wrong[row] = "failed, and has a face beside its error"
        elif box is None or (count or 0) < 1:
            wrong[row] = f"has an answer, and {columns.face} is {box} with {columns.face_count} {count}"
        elif lists is not None and len(told or ()) != min(count, wanted.most):
            wrong[row] = f"{columns.all_faces} has {len(told or ())} faces of {count}"
        elif told and (told[0] is None or tuple(told[0].values()) != (*box.values(), *answer)):
            wrong[row] = f"the first of {columns.all_faces} is not the face, label and probabilities of the row"
    seen = _lists(batch, columns, labelling, wanted) if lists is not None else _largest(batch, columns, wanted)
    return {**{row: what for row, what in seen.items() if errors[row] is None}, **wrong}


def _largest(batch: pa.RecordBatch, columns: OutputColumns, wanted: Wanted) -> dict[int, str]:
    boxes = _boxes(batch.column(columns.face))
    return {int(row): f"{columns.face} is {_told(boxes[row])}" for row in np.flatnonzero(_bad(boxes, wanted))}


def _lists(batch: pa.RecordBatch, columns: OutputColumns, labelling: Labelling, wanted: Wanted) -> dict[int, str]:
    """Rows that have a face which is none, by the first such."""
    lists = batch.column(columns.all_faces)
    faces, lengths = pc.list_flatten(lists), pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(lists)), lengths)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    boxes = _boxes(faces)
    bad, misplaced = _bad(boxes, wanted), _misplaced(boxes, rows)
    label, *numbers = (pc.struct_field(faces, [name]) for name in ("emotion", *columns.labels))
    answers = Told(label, numbers, labelling)
    wrong: dict[int, str] = {}
    for face in map(int, np.flatnonzero(bad | misplaced | answers.wrong)):
        if bad[face]:
            what = f"is {_told(boxes[face])}"
        elif answers.wrong[face]:
            what = answers.what(face, "emotion", columns.labels)
        else:
            what = "stands behind one that is smaller, or as large and less probable"
        wrong.setdefault(int(rows[face]), f"face {place[face]} of {columns.all_faces}: {what}")
    return wrong


def _boxes(faces: pa.Array) -> NDArray[np.float64]:
    return floats([pc.struct_field(faces, [name]) for name in FACE])


def _bad(boxes: NDArray[np.float64], wanted: Wanted) -> Mask:
    """Boxes that are none, or not as was asked for; they are compared as float32, as they were chosen."""
    sides = boxes[:, 2:4].min(axis=1)
    least = boxes[:, 4] >= np.float32(wanted.threshold)
    good = np.isfinite(boxes).all(axis=1) & (boxes[:, :2] >= 0).all(axis=1)
    bad: Mask = ~(good & (sides > 0) & (sides >= np.float32(wanted.min_size)) & least)
    return bad


def _misplaced(boxes: NDArray[np.float64], rows: NDArray[np.int64]) -> Mask:
    """Faces that should stand before the one that they follow: larger, or as large and more probable."""
    order = np.lexsort((*order_keys(boxes), rows))
    after = np.empty(len(rows), np.int64)
    after[order] = np.arange(len(rows))
    misplaced: Mask = np.concatenate([[False], np.diff(after) < 0])[: len(rows)]
    return misplaced


def _told(box: NDArray[np.float64]) -> str:
    values = ", ".join(f"{name} {value:g}" for name, value in zip(FACE, box, strict=True))
    return f"no face that was asked for: {values}"
