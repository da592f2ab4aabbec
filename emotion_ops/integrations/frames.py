"""Dataframes of any kind, for ``df.pipe(classify_emotions)``: the same kind of frame comes back.

pandas keeps its index, its dtypes and its object columns, since only the image column is looked at. Polars,
PyArrow, Modin and cuDF go through narwhals; what else speaks Arrow's C stream comes back as a PyArrow table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from emotion_ops.errors import ColumnNotFoundError, ColumnTypeError, FrameTypeError, OptionError
from emotion_ops.operators.classify import ClassifyEmotions
from emotion_ops.operators.face_rows import NO_FACES, FaceRows
from emotion_ops.operators.preview import preview_sheet
from emotion_ops.operators.repeating import one_batch, repeat_column
from emotion_ops.schema import METADATA_KEY, OutputColumns

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
    if _is_pandas(frame):
        return _pandas(frame, operator)  # type: ignore[arg-type,return-value]  # it is one
    native: Frame = _narwhals(frame, operator)
    return native


def explode_faces(frame: Frame, prefix: str = "emotion", *, labels_above: Any = None) -> Frame:
    """One row for each face of a dataframe that ``faces="all"`` was run on; made for ``df.pipe``.

    Rows without a face are left out, whether there was none or the row failed.

    Args:
        frame: As ``classify_emotions`` takes it; also what became of it since, read back from Parquet say. It is not
            changed.
        prefix: What the appended names start with.
        labels_above: Thresholds of each face's ``<prefix>_labels``, as ``ClassifyEmotions`` takes them. None: those
            that the frame was made with, which its lineage says.

    Returns:
        The same kind of frame. Its columns: those that were there, as they are; ``<prefix>`` and ``<prefix>_<label>``
        of the face; with thresholds its ``<prefix>_labels``; its box ``<prefix>_face``; and ``<prefix>_face_count``.
        ``<prefix>_faces`` and ``<prefix>_error`` are gone. Rows keep their order, and faces theirs, the largest of an
        image first. In pandas a row's index is that of its image. Of Arrow tables wide cells, of images say, are not
        copied. A record batch reader comes back as one that works as it is read; its batches have at most 64 MiB, or
        one row.

    Raises:
        FrameTypeError: No such table.
        ColumnError: It has no list of faces, or another column has the name of one that is made; of a record batch
            also where a column would have more than 2 GiB.
        OptionError: There is ``<prefix>_labels``, but no lineage that says its thresholds; or a name is there twice.

    Examples:
        >>> df = df.pipe(classify_emotions, faces="all").pipe(explode_faces)
    """
    if isinstance(frame, pa.Table):
        table: Frame = FaceRows.of(frame.schema, prefix, labels_above).table(frame.to_batches())
        return table
    if isinstance(frame, pa.RecordBatch):
        batch: Frame = one_batch(FaceRows.of(frame.schema, prefix, labels_above).table([frame]))
        return batch
    if isinstance(frame, pa.RecordBatchReader):
        rows = FaceRows.of(frame.schema, prefix, labels_above)
        reader: Frame = pa.RecordBatchReader.from_batches(rows.schema, rows.stream(frame))
        return reader
    if _is_pandas(frame):
        return _pandas_faces(frame, prefix, labels_above)  # type: ignore[arg-type,return-value]  # it is one
    native: Frame = _narwhals_faces(frame, prefix, labels_above)
    return native


def preview(frame: Any, image: str = "image", *, n: int = 12, **options: Any) -> Image.Image:
    """Draw the first rows of a dataframe with their face boxes, labels and bars of their probabilities.

    Args:
        frame: As ``classify_emotions`` takes it, but for record batch readers.
        image: The column of images.
        n: How many rows.
        **options: Those of ``ClassifyEmotions`` but ``on_error``; rows that fail are shown.

    Returns:
        A picture, which a notebook shows and ``save`` writes.

    Raises:
        EmotionOpsError: As ``classify_emotions`` does.
    """
    import narwhals.stable.v2 as nw

    operator = ClassifyEmotions(image, **options)
    if isinstance(frame, pa.RecordBatch):
        frame = pa.table(frame)
    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError:
        table = nw.from_native(_arrow_table(frame), eager_only=True)
    if image not in table.columns:
        raise ColumnNotFoundError(image, table.columns)
    if _is_pandas(frame):
        return preview_sheet(operator, _pandas_cells(frame[image].head(n), image))
    series = table.get_column(image).head(n)
    cells = series.to_list() if series.dtype == nw.Object else series.to_arrow()
    return preview_sheet(operator, pa.chunked_array([cells]) if isinstance(cells, pa.Array) else cells)


def _is_pandas(frame: object) -> bool:
    """Without importing pandas; subclasses that live in packages of their own count."""
    return any(base.__module__.partition(".")[0] == "pandas" for base in type(frame).__mro__)


def _pandas(frame: pd.DataFrame, operator: ClassifyEmotions) -> pd.DataFrame:
    names = _pandas_names(frame)
    if operator.image not in names:
        raise ColumnNotFoundError(operator.image, names)
    if (copies := names.count(operator.image)) > 1:
        raise OptionError("image", operator.image, f"{copies} columns have this name; rename all but one")
    columns = operator.output_columns()
    columns.check_absent(names)
    series = frame.iloc[:, names.index(operator.image)]  # by position: the name may be the number 0
    appended = operator.columns_for(_pandas_cells(series, operator.image))
    result = frame.copy(deep=False)
    _append(result, appended, _is_arrow(series))
    result.attrs = {**frame.attrs, METADATA_KEY.decode(): {**columns.lineage, "prefix": columns.prefix}}
    if operator.on_error == "drop":
        result = result[result[columns.error].isna().to_numpy()]
    return result


def _pandas_faces(frame: pd.DataFrame, prefix: str, labels_above: Any) -> pd.DataFrame:
    import pandas as pd

    names = _pandas_names(frame)
    name, lists = OutputColumns((), prefix).all_faces, None
    if names.count(name) == 1:
        series = frame.iloc[:, names.index(name)]
        try:
            lists = _chunked(pa.array(series.array if _is_arrow(series) else series, from_pandas=True))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ColumnTypeError(name, f"{series.dtype} ({error})", NO_FACES) from error
    lineage = frame.attrs.get(METADATA_KEY.decode(), {})  # of the latest run alone
    faces = _face_rows(names, lists, prefix, labels_above, lineage if lineage.get("prefix") == prefix else None)
    rows, made = faces.faces(lists if lists is not None else pa.chunked_array([], pa.null()))
    plain = [place for place in faces.kept if not isinstance(frame.dtypes.iloc[place], pd.ArrowDtype)]
    result = frame.iloc[rows, plain]
    for place in sorted(set(faces.kept) - set(plain)):
        column = repeat_column(_chunked(pa.array(frame.iloc[:, place].array)), rows)
        values = pd.array(column, dtype=frame.dtypes.iloc[place])
        result.insert(faces.kept.index(place), frame.columns[place], values, allow_duplicates=True)
    on_arrow = prefix in names and isinstance(frame.dtypes.iloc[names.index(prefix)], pd.ArrowDtype)
    _append(result, made, on_arrow)
    for place in faces.count:
        result[frame.columns[place]] = frame.iloc[rows, place].array
    result.attrs = dict(frame.attrs)
    return result


def _pandas_names(frame: pd.DataFrame) -> list[str]:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame) or isinstance(frame.columns, pd.MultiIndex):
        raise FrameTypeError(type(frame).__name__, "give a DataFrame with one level of columns, series.to_frame() say")
    return [str(name) for name in frame.columns]


def _append(frame: pd.DataFrame, columns: pa.Table, on_arrow: bool) -> None:
    """Put columns behind those of a pandas frame, as those that it has: backed by Arrow or not."""
    import pandas as pd

    for name, column in zip(columns.column_names, columns.columns, strict=True):
        if on_arrow:
            frame[name] = pd.array(column, dtype=pd.ArrowDtype(column.type))
        elif pa.types.is_string(column.type):
            frame[name] = pd.array(column.to_pylist(), dtype="str")
        elif pa.types.is_integer(column.type):
            frame[name] = pd.array(column.to_pylist(), dtype="Int32")
        elif pa.types.is_nested(column.type):  # of Arrow's own pandas writes Parquet that it cannot read
            frame[name] = pd.Series(column.to_pylist(), index=frame.index, dtype=object)
        else:
            frame[name] = column.to_numpy()


def _is_arrow(series: pd.Series[Any]) -> bool:
    import pandas as pd

    return isinstance(series.dtype, pd.ArrowDtype)


def _chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([array]) if isinstance(array, pa.Array) else array


def _face_rows(
    names: list[str], lists: pa.ChunkedArray | None, prefix: str, labels_above: Any, lineage: Any = None
) -> FaceRows:
    """``FaceRows`` of columns that are not Arrow's, but for the faces."""
    name = OutputColumns((), prefix).all_faces
    kinds = [lists.type if one == name and lists is not None else pa.null() for one in names]
    return FaceRows.of(pa.schema(list(zip(names, kinds, strict=True))), prefix, labels_above, lineage)


def _pandas_cells(series: pd.Series[Any], column: str) -> pa.ChunkedArray | Sequence[Any]:
    """The cells of a pandas column: Arrow's own where it is one, else the Python objects as they are."""
    import pandas as pd

    if _is_arrow(series):
        return _chunked(pa.array(series.array))
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
        return operator(_arrow_table(frame))
    if operator.image not in table.columns:
        raise ColumnNotFoundError(operator.image, table.columns)
    columns = operator.output_columns()
    columns.check_absent(table.columns)
    try:
        series = table.get_column(operator.image)
        images = series.to_list() if series.dtype == nw.Object else series.to_arrow()
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        raise ColumnTypeError(operator.image, f"{table.schema[operator.image]} ({error})") from error
    appended = nw.from_arrow(
        operator.columns_for(_chunked(images) if isinstance(images, pa.Array) else images), backend=table.implementation
    )
    result = table.with_columns(*appended.iter_columns())
    if operator.on_error == "drop":
        result = result.filter(nw.col(columns.error).is_null())
    return result.to_native()


def _narwhals_faces(frame: Any, prefix: str, labels_above: Any) -> Any:
    import narwhals.stable.v2 as nw

    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError:
        return explode_faces(_arrow_table(frame), prefix, labels_above=labels_above)
    name, lists = OutputColumns((), prefix).all_faces, None
    if name in table.columns:
        try:
            lists = _chunked(table.get_column(name).to_arrow())
        except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
            raise ColumnTypeError(name, f"{table.schema[name]} ({error})", NO_FACES) from error
    faces = _face_rows(table.columns, lists, prefix, labels_above)
    rows, made = faces.faces(lists if lists is not None else pa.chunked_array([], pa.null()))
    kept, count = ([table.columns[place] for place in places] for places in (faces.kept, faces.count))
    whole = nw.from_arrow(made, backend=table.implementation)
    if kept or count:
        whole = table.select(*kept, *count)[rows, :].with_columns(*whole.iter_columns())
    return whole.select(*kept, *made.column_names, *count).to_native()


def _arrow_table(frame: Any) -> pa.Table:
    if hasattr(frame, "__arrow_c_stream__"):
        try:
            return pa.table(frame)
        except pa.ArrowException:  # a column alone, a Polars Series say, speaks Arrow too
            pass
    raise FrameTypeError(
        type(frame).__name__,
        "give a pandas, Polars or PyArrow table, or anything that gives one by __arrow_c_stream__; "
        "collect() a lazy frame first, and put a single column into a table",
    )
