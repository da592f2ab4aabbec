"""One row for each face of a dataframe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from emotion_ops.errors import ColumnTypeError
from emotion_ops.integrations.frames.kinds import (
    append_to_pandas,
    arrow_table,
    chunked,
    is_arrow,
    is_pandas,
    pandas_names,
)
from emotion_ops.operators.classify.columns import METADATA_KEY, OutputColumns
from emotion_ops.operators.classify.face_rows import NO_FACES, FaceRows
from emotion_ops.operators.take_rows import one_batch, repeat_column

if TYPE_CHECKING:
    import pandas as pd

Frame = TypeVar("Frame")


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
    if is_pandas(frame):
        return _of_pandas(frame, prefix, labels_above)  # type: ignore[arg-type,return-value]  # it is one
    native: Frame = _of_narwhals(frame, prefix, labels_above)
    return native


def _of_pandas(frame: pd.DataFrame, prefix: str, labels_above: Any) -> pd.DataFrame:
    import pandas as pd

    names = pandas_names(frame)
    name, lists = OutputColumns((), prefix).all_faces, None
    if names.count(name) == 1:
        series = frame.iloc[:, names.index(name)]
        try:
            lists = chunked(pa.array(series.array if is_arrow(series) else series, from_pandas=True))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ColumnTypeError(name, f"{series.dtype} ({error})", NO_FACES) from error
    lineage = frame.attrs.get(METADATA_KEY.decode(), {})  # of the latest run alone
    faces = _face_rows(names, lists, prefix, labels_above, lineage if lineage.get("prefix") == prefix else None)
    rows, made = faces.faces(lists if lists is not None else pa.chunked_array([], pa.null()))
    plain = [place for place in faces.kept if not isinstance(frame.dtypes.iloc[place], pd.ArrowDtype)]
    result = frame.iloc[rows, plain]
    for place in sorted(set(faces.kept) - set(plain)):
        column = repeat_column(chunked(pa.array(frame.iloc[:, place].array)), rows)
        values = pd.array(column, dtype=frame.dtypes.iloc[place])
        result.insert(faces.kept.index(place), frame.columns[place], values, allow_duplicates=True)
    on_arrow = prefix in names and isinstance(frame.dtypes.iloc[names.index(prefix)], pd.ArrowDtype)
    append_to_pandas(result, made, on_arrow)
    for place in faces.count:
        result[frame.columns[place]] = frame.iloc[rows, place].array
    result.attrs = dict(frame.attrs)
    return result


def _of_narwhals(frame: Any, prefix: str, labels_above: Any) -> Any:
    import narwhals.stable.v2 as nw

    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError:
        return explode_faces(arrow_table(frame), prefix, labels_above=labels_above)
    name, lists = OutputColumns((), prefix).all_faces, None
    if name in table.columns:
        try:
            lists = chunked(table.get_column(name).to_arrow())
        except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
            raise ColumnTypeError(name, f"{table.schema[name]} ({error})", NO_FACES) from error
    faces = _face_rows(table.columns, lists, prefix, labels_above)
    rows, made = faces.faces(lists if lists is not None else pa.chunked_array([], pa.null()))
    kept, count = ([table.columns[place] for place in places] for places in (faces.kept, faces.count))
    whole = nw.from_arrow(made, backend=table.implementation)
    if kept or count:
        whole = table.select(*kept, *count)[rows, :].with_columns(*whole.iter_columns())
    return whole.select(*kept, *made.column_names, *count).to_native()


def _face_rows(
    names: list[str], lists: pa.ChunkedArray | None, prefix: str, labels_above: Any, lineage: Any = None
) -> FaceRows:
    """``FaceRows`` of columns that are not Arrow's, but for the faces."""
    name = OutputColumns((), prefix).all_faces
    kinds = [lists.type if one == name and lists is not None else pa.null() for one in names]
    return FaceRows.of(pa.schema(list(zip(names, kinds, strict=True))), prefix, labels_above, lineage)
