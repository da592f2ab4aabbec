"""Checks of stored columns: each row must have a result and everything that follows from it, or an error.

The stored probabilities and boxes are taken as results, and the operator's own finishing step is run on them again. It
must give the stored columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.faces.order import order_keys
from emotion_ops.operators.classify.columns import FACE, OutputColumns
from emotion_ops.operators.classify.faces import Faces
from emotion_ops.operators.classify.finishing import FoundFaces, build_columns
from emotion_ops.operators.classify.labels import Labeller
from emotion_ops.operators.equal_rows import equal_rows
from emotion_ops.operators.hooks import as_floats, is_null
from emotion_ops.operators.rows import PartResults

SUM_TOLERANCE = 1e-5
"""How far the sum of a row's probabilities may be from 1."""

_CODES = frozenset(RowErrorCode)


def wrong_rows(
    columns: pa.RecordBatch, names: OutputColumns, labeller: Labeller, faces: Faces | None
) -> Iterator[tuple[int, str]]:
    """Rows that no run can have written, each with the first thing that is wrong.

    A good row has probabilities that are numbers from 0 to 1 and sum to 1 within ``SUM_TOLERANCE``. Its label, its
    list of labels and its faces are what the finishing step makes of them. With faces, its boxes have the size and
    probability that was asked for, the largest first, and there are as many as were counted, up to the maximum. A
    failed row has an error with a known code, and is null in all other columns (``no_face`` has the count 0).

    Args:
        columns: The appended columns of any rows.
        names: Their names.
        labeller: How labels come from probabilities.
        faces: Which faces were asked for; None if none.

    Yields:
        The row's number in the batch, and what is wrong with it.
    """
    results, wrong = _results(columns, names, faces)
    rebuilt = build_columns(results, names, labeller)
    for field, stored, expected in zip(names.fields(), columns.columns, rebuilt, strict=False):
        for number in map(int, np.flatnonzero(~equal_rows(stored, expected.cast(stored.type)))):
            what = _difference(field.name, stored[number].as_py(), expected[number].as_py())
            if isinstance(results[number], RowError):
                what = f"failed, and {field.name} has a value next to its error"
            wrong.setdefault(number, what)
    yield from sorted(wrong.items())


def _results(columns: pa.RecordBatch, names: OutputColumns, faces: Faces | None) -> tuple[list[Any], dict[int, str]]:
    """The results that stored rows must come from; and the rows that come from no result and no error, with why."""
    errors = columns.column(names.error).to_pylist()
    numbers = [columns.column(name) for name in names.probabilities]
    matrix, has_null = np.stack([as_floats(one) for one in numbers], axis=1), np.any([*map(is_null, numbers)], axis=0)
    found = None if faces is None else columns.select([n for n in names.added if n != names.listed]).to_pylist()
    impossible = _impossible(matrix)
    results: list[Any] = []
    wrong: dict[int, str] = {}
    for row, error in enumerate(errors):
        try:
            if error is not None:
                results.append(_stored_error(error))
                continue
            if has_null[row]:
                raise ValueError("has neither a whole result nor an error")
            if impossible[row]:
                raise ValueError(_why_impossible(matrix[row], names.probabilities))
            result = matrix[row].astype(np.float32)
            results.append(result if found is None or faces is None else _faces(found[row], result, names, faces))
        except ValueError as reason:
            wrong[row] = str(reason)
            results.append(RowError(RowErrorCode.MISSING, "not checked further"))
    return results, wrong


def _stored_error(error: str) -> RowError:
    code = error.partition(":")[0]
    if code not in _CODES:
        raise ValueError(f"failed with the unknown code {code!r}")
    return RowError(RowErrorCode(code), "stored")


def _faces(row: dict[str, Any], probabilities: NDArray[np.float32], names: OutputColumns, faces: Faces) -> PartResults:
    box, count = row[names.face], row[names.face_count]
    if box is None or (count or 0) < 1:
        raise ValueError(f"is good, and {names.face} is {box} with {names.face_count} {count}")
    if faces.which == "largest":
        return PartResults([probabilities], FoundFaces(_boxes([box], names.face, faces), count))
    found = row[names.all_faces] or []
    if len(found) != min(count, faces.limit):
        raise ValueError(f"{names.all_faces} has {len(found)} faces, not {min(count, faces.limit)}")
    boxes = _boxes(found, names.all_faces, faces)
    for number, face in enumerate(found):
        if None in [face[label] for label in names.labels]:
            raise ValueError(f"face {number + 1} of {names.all_faces} has no whole result")
    matrix = np.array([[face[label] for label in names.labels] for face in found], np.float64)
    if len(impossible := np.flatnonzero(_impossible(matrix))):
        what = _why_impossible(matrix[impossible[0]], names.labels)
        raise ValueError(f"face {impossible[0] + 1} of {names.all_faces}: {what}")
    if not np.array_equal(matrix[0].astype(np.float32), probabilities):
        raise ValueError(f"the first of {names.all_faces} does not have the probabilities of the row")
    return PartResults(list(matrix.astype(np.float32)), FoundFaces(boxes, count))


def _impossible(matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows that are not probabilities; NaN and infinity are not."""
    in_range = ((matrix >= 0) & (matrix <= 1)).all(axis=1)
    bad: NDArray[np.bool_] = ~(in_range & (np.abs(matrix.sum(axis=1) - 1) <= SUM_TOLERANCE))
    return bad


def _why_impossible(values: NDArray[np.float64], names: tuple[str, ...]) -> str:
    for name, value in zip(names, values, strict=True):
        if not 0 <= value <= 1:
            return f"{name} is {value:g}, which is not a probability"
    return f"the probabilities sum to {values.sum():.6f}"


def _difference(name: str, stored: Any, expected: Any) -> str:
    """In words, how a stored value differs from what its result gives; of faces the first that differs."""
    if isinstance(stored, list) and isinstance(expected, list) and stored and isinstance(stored[0], dict):
        for number, (one, other) in enumerate(zip(stored, expected, strict=False)):
            if one != other:
                return _difference(f"face {number + 1} of {name}", one, other)
    if isinstance(stored, dict) and isinstance(expected, dict):
        part = next((part for part in expected if stored.get(part) != expected[part]), "")
        return _difference(f"{name}: {part}", stored.get(part), expected.get(part))
    return f"{name} is {stored!r}, but its result gives {expected!r}"


def _boxes(found: list[dict[str, Any] | None], column: str, faces: Faces) -> NDArray[np.float32]:
    boxes = np.array(
        [[np.nan if face is None or face[part] is None else face[part] for part in FACE] for face in found]
    )
    for number, box in enumerate(boxes):
        sides = box[2:4].min()
        is_box = np.isfinite(box).all() and (box[:2] >= 0).all() and sides > 0
        if not (is_box and sides >= np.float32(faces.min_size) and box[4] >= np.float32(faces.threshold)):
            values = ", ".join(f"{name} {value:g}" for name, value in zip(FACE, box, strict=True))
            which = f"face {number + 1} of {column}" if len(boxes) > 1 else column
            raise ValueError(f"{which} is not a face that was asked for: {values}")
    if (np.lexsort(order_keys(boxes)) != np.arange(len(boxes))).any():
        raise ValueError(f"{column} is not ordered by size and probability")
    return boxes.astype(np.float32)
