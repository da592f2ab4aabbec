"""Append the columns of a table operator to a dataframe of any kind."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import pyarrow as pa

from emotion_ops.integrations.frames import narwhals_frames, pandas_frames
from emotion_ops.integrations.frames.kinds import arrow_table, is_pandas, narwhals_table
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.classify.operator import ClassifyEmotions

Frame = TypeVar("Frame")


def append_columns(frame: Frame, operator: TableOperator) -> Frame:
    """Append the columns of a table operator to a dataframe; made for ``df.pipe``.

    Args:
        frame: A pandas, Polars, Modin, cuDF or PyArrow table, a PyArrow record batch or reader, or anything with
            ``__arrow_c_stream__`` (it comes back as a PyArrow table). It is not changed. In pandas, an object column
            of images may mix PIL images, uint8 numpy arrays, encoded images, paths and Hugging Face's
            ``{"bytes", "path"}`` dicts.
        operator: The operator; the frame must have its ``inputs``.

    Returns:
        The same kind of frame with the columns appended. In pandas the index stays, null becomes a missing value, and
        ``attrs["emotion_ops"]`` has the lineage. A record batch reader comes back as a reader that computes as it is
        read.

    Raises:
        FrameTypeError: The object is not such a table.
        ColumnError: An input is missing or has a type that cannot be used, or an appended name exists.
        OptionError: Several columns have the name of an input.
        ModelError: The operator's model cannot be used.
        RowFailedError: A row failed, with ``on_error="raise"``.

    Examples:
        >>> df = df.pipe(append_columns, ClassifyEmotions("path", access="photos/"))
    """
    result: Any
    if isinstance(frame, pa.Table | pa.RecordBatch):
        result = operator(frame)
    elif isinstance(frame, pa.RecordBatchReader):
        result = pa.RecordBatchReader.from_batches(operator.output_schema(frame.schema), operator.stream(frame))
    elif is_pandas(frame):
        result = pandas_frames.append_columns(cast("Any", frame), operator)
    elif (table := narwhals_table(frame)) is not None:
        result = narwhals_frames.append_columns(table, operator)
    else:
        result = operator(arrow_table(frame))
    appended: Frame = result
    return appended


def classify_emotions(frame: Frame, image: str = "image", **options: Any) -> Frame:
    """Append the probabilities of facial emotions to a dataframe; made for ``df.pipe``.

    It is ``append_columns(frame, ClassifyEmotions(image, **options))``.

    Args:
        frame: See ``append_columns``.
        image: The column of images.
        **options: Those of ``ClassifyEmotions``.

    Returns:
        See ``append_columns``.

    Raises:
        EmotionOpsError: See ``append_columns``; also ``OptionError`` if an option has a value that cannot be used.

    Examples:
        >>> df = df.pipe(classify_emotions, image="path", access="photos/")
    """
    return append_columns(frame, ClassifyEmotions(image, **options))
