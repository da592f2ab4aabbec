"""Whether the emotion columns of a row can be what they should be: an answer, or an error and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from emotion_ops.errors import RowErrorCode
from emotion_ops.lake.audit.faces import Wanted, wrong_faces
from emotion_ops.lake.audit.told import Told, nulls
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.classify.labels import Labelling
from emotion_ops.operators.equal_rows import Mask, equal_rows

_CODES = frozenset(RowErrorCode)


def wrong_answers(
    batch: pa.RecordBatch, columns: OutputColumns, labelling: Labelling, wanted: Wanted
) -> Iterator[tuple[int, str]]:
    """Rows of the emotion columns that no run can have written, each with the first thing that is wrong.

    A good row has a label and probabilities that are numbers from 0 to 1, sum to 1 within ``SUM_TOLERANCE``, and
    are highest at the label (the first of equals), or not high enough for one; a failed row has an error that begins
    with a known code, and is null in all other columns. The list of labels is what the probabilities make it, and the
    faces are as ``wrong_faces`` says.

    Args:
        batch: The emotion columns, in order.
        columns: Their names.
        labelling: How labels come of probabilities.
        wanted: Which faces were asked for.

    Yields:
        The row's number in the batch, and what is wrong with it.
    """
    error = batch.column(columns.error)
    told = Told(batch.column(columns.label), [batch.column(name) for name in columns.probabilities], labelling)
    failed = ~nulls(error)
    listed = np.ones(batch.num_rows, dtype=bool)
    nothing_listed = listed
    if columns.lists_labels:
        there = batch.column(columns.listed)
        listed = equal_rows(there, labelling.listed(told.probabilities, failed))
        nothing_listed = nulls(there)
    faces = wrong_faces(batch, columns, labelling, wanted)
    wrong_face = np.isin(np.arange(batch.num_rows), list(faces))
    badly_failed = ~told.unlabelled | ~told.is_null.all(axis=1) | ~_known(error) | ~nothing_listed | wrong_face
    badly_answered = told.wrong | ~listed | wrong_face
    for row in map(int, np.flatnonzero(np.where(failed, badly_failed, badly_answered))):
        if failed[row]:
            code = str(error[row].as_py()).partition(":")[0]
            known = code in _CODES
            yield (
                row,
                "failed, and has an answer beside its error" if known else f"failed with the unknown code {code!r}",
            )
        elif told.incomplete[row]:
            yield row, "has neither a whole answer nor an error"
        elif told.wrong[row]:
            yield row, told.what(row, columns.label, columns.probabilities)
        elif wrong_face[row]:
            yield row, faces[row]
        else:
            value = batch.column(columns.listed)[row].as_py()
            yield row, f"{columns.listed} is {value}, which is not what the probabilities make it"


def _known(error: pa.Array) -> Mask:
    """Whether an error begins with a known code; of rows without one it counts for nothing."""
    return np.array([str(text).partition(":")[0] in _CODES for text in error.to_pylist()], dtype=bool)
