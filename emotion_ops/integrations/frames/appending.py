"""Emotion columns behind those of a dataframe, and a picture of its first rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from emotion_ops.errors import ColumnTypeError, FrameTypeError
from emotion_ops.integrations.frames.kinds import (
    append_to_pandas,
    arrow_table,
    chunked,
    is_arrow,
    is_pandas,
    pandas_names,
)
from emotion_ops.operators.classify.columns import METADATA_KEY
from emotion_ops.operators.classify.operator import ClassifyEmotions, place_of
from emotion_ops.reports.preview import preview_sheet, rows_of

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

Frame = TypeVar("Frame")


def classify_emotions(frame: Frame, image: str = "image", **options: Any) -> Frame:
    """Append the probabilities of facial emotions to a dataframe; made for ``df.pipe``.

    Args:
        frame: A pandas, Polars, Modin, cuDF or PyArrow table, a PyArrow record batch or reader, or anything
            with ``__arrow_c_stream__`` (that comes back as a PyArrow table). It is not changed.
        image: The column of images. In pandas an object column may also hold PIL images, uint8 numpy arrays,
            ``pathlib`` paths and Hugging Face's ``{"bytes", "path"}`` dicts, mixed at will.
        **options: Those of ``ClassifyEmotions``.

    Returns:
        The same kind of frame with the columns appended; in pandas with the same index, a missing value
        where Arrow has null, and the lineage in ``attrs["emotion_ops"]``. A record batch reader comes back
        as a reader that works as it is read.

    Raises:
        FrameTypeError: No such table.
        ColumnError: The image column is missing or holds no images, or an appended name is taken.
        OptionError: An option has a value that cannot work.
        ModelError: The model cannot be used.
        RowFailedError: A row failed under ``on_error="raise"``.

    Examples:
        >>> df = df.pipe(classify_emotions, image="path", root="photos/")
    """
    operator = ClassifyEmotions(image, **options)
    if isinstance(frame, pa.Table | pa.RecordBatch):
        table: Frame = operator(frame)
        return table
    if isinstance(frame, pa.RecordBatchReader):
        reader: Frame = pa.RecordBatchReader.from_batches(operator.output_schema(frame.schema), operator.stream(frame))
        return reader
    if is_pandas(frame):
        return _pandas(frame, operator)  # type: ignore[arg-type,return-value]  # it is one
    native: Frame = _narwhals(frame, operator)
    return native


def preview(frame: Any, image: str = "image", *, n: int = 12, **options: Any) -> Image.Image:
    """Draw the first rows of a dataframe with their face boxes, labels and bars of their probabilities.

    Args:
        frame: As ``classify_emotions`` takes it, but for record batch readers.
        image: The column of images.
        n: How many rows, 1 to 200; fewer where the frame has fewer.
        **options: Those of ``ClassifyEmotions``; rows that fail are shown, whatever ``on_error`` says.

    Returns:
        A picture, which a notebook shows and ``save`` writes.

    Raises:
        EmotionOpsError: As ``classify_emotions`` does.
    """
    operator, rows = ClassifyEmotions(image, **options), rows_of("n", n)
    return preview_sheet(operator, [("", _first_images(frame, image, rows))])


def _first_images(frame: Any, image: str, rows: int) -> pa.ChunkedArray | Sequence[Any]:
    """The first images of a frame of any kind, as ``ClassifyEmotions.columns_for`` takes them."""
    if is_pandas(frame):
        return _pandas_cells(_pandas_series(frame, image).head(rows), image)
    if isinstance(frame, pa.RecordBatchReader):
        raise FrameTypeError("RecordBatchReader", "a preview would use it up; give its first batch")
    if not isinstance(frame, pa.Table | pa.RecordBatch):
        import narwhals.stable.v2 as nw

        try:
            table = nw.from_native(frame, eager_only=True)
        except TypeError:
            frame = arrow_table(frame)
        else:
            place_of(image, table.columns)
            return _narwhals_cells(table.head(rows), image)
    images = frame.column(place_of(image, frame.schema.names)).slice(0, rows)
    return images if isinstance(images, pa.ChunkedArray) else pa.chunked_array([images])


def _pandas(frame: pd.DataFrame, operator: ClassifyEmotions) -> pd.DataFrame:
    series = _pandas_series(frame, operator.image)
    columns = operator.output_columns()
    columns.check_absent(pandas_names(frame))
    appended = operator.columns_for(_pandas_cells(series, operator.image))
    result = frame.copy(deep=False)
    append_to_pandas(result, appended, is_arrow(series))
    result.attrs = {**frame.attrs, METADATA_KEY.decode(): {**columns.lineage, "prefix": columns.prefix}}
    if operator.on_error == "drop":
        result = result[result[columns.error].isna().to_numpy()]
    return result


def _pandas_series(frame: pd.DataFrame, image: str) -> pd.Series[Any]:
    return frame.iloc[:, place_of(image, pandas_names(frame))]  # by position: the name may be the number 0


def _pandas_cells(series: pd.Series[Any], column: str) -> pa.ChunkedArray | Sequence[Any]:
    """The cells of a pandas column: Arrow's own where it is one, else the Python objects as they are."""
    import pandas as pd

    if is_arrow(series):
        return chunked(pa.array(series.array))
    values = series.cat.categories if isinstance(series.dtype, pd.CategoricalDtype) else series
    holds = pd.api.types.infer_dtype(values, skipna=True)
    is_missing = bool(series.isna().all())
    missing_only = is_missing and (len(series) > 0 or pd.api.types.is_float_dtype(series.dtype))
    if not missing_only and holds not in ("string", "bytes", "empty") and not holds.startswith("mixed"):
        raise ColumnTypeError(column, f"{series.dtype} ({holds})")
    return series.to_numpy(dtype=object)


def _narwhals(frame: Any, operator: ClassifyEmotions) -> Any:
    import narwhals.stable.v2 as nw

    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError:
        return operator(arrow_table(frame))
    place_of(operator.image, table.columns)
    columns = operator.output_columns()
    columns.check_absent(table.columns)
    images = _narwhals_cells(table, operator.image)
    appended = nw.from_arrow(operator.columns_for(images), backend=table.implementation)
    result = table.with_columns(*appended.iter_columns())
    if operator.on_error == "drop":
        result = result.filter(nw.col(columns.error).is_null())
    return result.to_native()


def _narwhals_cells(table: Any, image: str) -> pa.ChunkedArray | Sequence[Any]:
    """The cells of a narwhals table's column: Arrow's own, or the Python objects as they are."""
    import narwhals.stable.v2 as nw

    try:
        series = table.get_column(image)
        images = series.to_list() if series.dtype == nw.Object else series.to_arrow()
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        raise ColumnTypeError(image, f"{table.schema[image]} ({error})") from error
    return chunked(images) if isinstance(images, pa.Array) else images
