"""The first rows of a dataframe, drawn with what an operator appends to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from emotion_ops.errors import FrameTypeError
from emotion_ops.integrations.frames import narwhals_frames, pandas_frames
from emotion_ops.integrations.frames.kinds import Inputs, arrow_table, is_pandas, narwhals_table
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.take_rows import find_column
from emotion_ops.reports.preview import check_rows, draw_preview

if TYPE_CHECKING:
    from PIL import Image


def preview(frame: Any, image: str = "image", *, n: int = 12, **options: Any) -> Image.Image:
    """Draw the first rows of a dataframe with the boxes of their faces, their labels and bars of their probabilities.

    It is ``preview_rows(frame, ClassifyEmotions(image, **options), n)``.

    Args:
        frame: See ``preview_rows``.
        image: The column of images.
        n: See ``preview_rows``.
        **options: Those of ``ClassifyEmotions``.

    Returns:
        See ``preview_rows``.

    Raises:
        EmotionOpsError: See ``append_columns``.
    """
    return preview_rows(frame, ClassifyEmotions(image, **options), n)


def preview_rows(frame: Any, operator: TableOperator, n: int = 12) -> Image.Image:
    """Draw the first rows of a dataframe with what an operator appends to them.

    Args:
        frame: Any kind that ``append_columns`` accepts, except record batch readers.
        operator: The operator. Failed rows are drawn too, whatever its ``on_error`` is.
        n: How many rows, 1 to 200; all if the frame has fewer.

    Returns:
        An image that a notebook shows and ``save`` writes.

    Raises:
        EmotionOpsError: See ``append_columns``.
    """
    return draw_preview(operator, [("", _first_rows(frame, operator, check_rows("n", n)))])


def _first_rows(frame: Any, operator: TableOperator, rows: int) -> Inputs:
    if is_pandas(frame):
        return pandas_frames.read_inputs(frame, operator, rows)
    if isinstance(frame, pa.RecordBatchReader):
        raise FrameTypeError("RecordBatchReader", "a preview would consume it; give its first batch")
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    elif not isinstance(frame, pa.Table):
        if (table := narwhals_table(frame)) is not None:
            return narwhals_frames.read_inputs(table, operator, rows)
        frame = arrow_table(frame)
    first: pa.Table = frame.select([find_column(name, frame.schema.names) for name in operator.inputs])
    return first.slice(0, rows)
