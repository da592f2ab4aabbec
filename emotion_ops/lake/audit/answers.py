"""Whether the emotion columns of a row can be what they should be: an answer, or an error and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import RowErrorCode
from emotion_ops.lake.audit.equality import Mask, equal_rows
from emotion_ops.operators.labelling import Labelling
from emotion_ops.schema import FACE, OutputColumns

SUM_TOLERANCE = 1e-5
"""How far the probabilities of a row may be from summing to 1."""

_CODES = frozenset(RowErrorCode)


def wrong_answers(batch: pa.RecordBatch, columns: OutputColumns, labelling: Labelling) -> Iterator[tuple[int, str]]:
    """Rows of the emotion columns that no run can have written, each with the first thing that is wrong.

    A good row has a label and probabilities that are numbers from 0 to 1, sum to 1 within ``SUM_TOLERANCE``, and
    are highest at the label (the first of equals), or not high enough for one; a failed row has an error that begins
    with a known code, and is null in all other columns. The list of labels is what the probabilities make it.

    Args:
        batch: The emotion columns, in order.
        columns: Their names.
        labelling: How labels come of probabilities.

    Yields:
        The row's number in the batch, and what is wrong with it.
    """
    label, error = batch.column(0), batch.column(batch.num_columns - 1)
    columns_of_numbers = [batch.column(1 + place) for place in range(len(columns.labels))]
    numbers = np.stack([_floats(column) for column in columns_of_numbers], axis=1)
    null = np.stack([_null(column) for column in columns_of_numbers], axis=1)
    labels = label.to_numpy(zero_copy_only=False)
    probabilities = np.where(np.isnan(numbers), -1.0, numbers).astype(np.float32)
    highest, is_sure = labelling.best(probabilities)
    failed, unlabelled = ~_null(error), _null(label)
    listed = np.ones(batch.num_rows, dtype=bool)
    nothing_listed = listed
    if columns.lists_labels:
        told = batch.column(columns.listed)
        listed = equal_rows(told, labelling.listed(probabilities, failed))
        nothing_listed = _null(told)
    possible = (numbers >= 0) & (numbers <= 1)  # which NaN and infinity are not
    total = numbers.sum(axis=1)
    summing = np.abs(total - 1) <= SUM_TOLERANCE
    wrong_label = np.where(is_sure, labels != highest, ~unlabelled)
    wrong_face = _wrong_faces(batch, columns, failed)
    badly_failed = ~unlabelled | ~null.all(axis=1) | ~_known(error) | ~nothing_listed | wrong_face
    badly_answered = ~possible.all(axis=1) | ~summing | wrong_label | ~listed | wrong_face
    for row in map(int, np.flatnonzero(np.where(failed, badly_failed, badly_answered))):
        if failed[row]:
            code = str(error[row].as_py()).partition(":")[0]
            known = code in _CODES
            yield (
                row,
                "failed, and has an answer beside its error" if known else f"failed with the unknown code {code!r}",
            )
        elif (unlabelled[row] and is_sure[row]) or null[row].any():
            yield row, "has neither a whole answer nor an error"
        elif not possible[row].all():
            place = int(possible[row].argmin())
            yield row, f"{columns.probabilities[place]} is {numbers[row, place]:g}, which is no probability"
        elif not summing[row]:
            yield row, f"the probabilities sum to {total[row]:.6f}"
        elif wrong_label[row] and is_sure[row]:
            yield row, f"{columns.label} is {labels[row]!r}, but the highest probability is of {highest[row]!r}"
        elif wrong_label[row]:
            least = labelling.min_probability
            yield row, f"{columns.label} is {labels[row]!r}, but no probability reaches min_probability={least}"
        elif wrong_face[row]:
            yield row, "its faces are not those of its label, probabilities and error"
        else:
            there = batch.column(columns.listed)[row].as_py()
            yield row, f"{columns.listed} is {there}, which is not what the probabilities make it"


def _wrong_faces(batch: pa.RecordBatch, columns: OutputColumns, failed: Mask) -> Mask:
    """Rows whose face columns contradict the others: a face where there is an answer, none where there is not."""
    wrong = np.zeros(batch.num_rows, dtype=bool)
    if columns.faces == "none":
        return wrong
    errors = batch.column(columns.error).to_pylist()
    boxes, counts = (batch.column(name).to_pylist() for name in (columns.face, columns.face_count))
    lists = batch.column(columns.all_faces).to_pylist() if columns.faces == "all" else None
    flat = [batch.column(name).to_pylist() for name in (columns.label, *columns.probabilities)]
    for row, (error, box, count) in enumerate(zip(errors, boxes, counts, strict=True)):
        is_faceless = str(error).partition(":")[0] == RowErrorCode.NO_FACE
        none = 0 if is_faceless else None
        wrong[row] = (box is not None or count != none) if failed[row] else (box is None or not (count or 0) >= 1)
        if lists is not None:
            told = lists[row]
            if failed[row]:
                wrong[row] |= told != ([] if is_faceless else None)
            else:
                largest = list(told[0].values()) if told else []
                answered = [None if box is None else list(box.values()), [column[row] for column in flat]]
                wrong[row] |= [largest[: len(FACE)], largest[len(FACE) :]] != answered or len(told) > (count or 0)
    return wrong


def _floats(column: pa.Array) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)  # null as NaN
    return numbers


def _null(column: pa.Array) -> Mask:
    mask: Mask = column.is_null().to_numpy(zero_copy_only=False)
    return mask


def _known(error: pa.Array) -> Mask:
    """Whether an error begins with a known code; of rows without one it counts for nothing."""
    return np.array([str(text).partition(":")[0] in _CODES for text in error.to_pylist()], dtype=bool)
