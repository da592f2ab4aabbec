"""One row for each face of a dataframe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from emotion_ops.errors import ColumnTypeError
from emotion_ops.integrations.frames import pandas_frames
from emotion_ops.integrations.frames.kinds import arrow_table, as_chunked, is_pandas, narwhals_table
from emotion_ops.integrations.frames.narwhals_frames import read_column
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.classify.face_rows import NO_FACES, FaceRows
from emotion_ops.operators.take_rows import one_batch, repeat_column

if TYPE_CHECKING:
    import pandas as pd

Frame = TypeVar("Frame")


def explode_faces(frame: Frame, prefix: str = "emotion", *, labels_above: Any = None) -> Frame:
    """Make one row for each face of a dataframe with the columns of ``faces="all"``; made for ``df.pipe``.

    Rows without a face are left out, also those that failed.

    Args:
        frame: Any kind that ``append_columns`` accepts, also after other steps: read back from Parquet, for example.
            It is not changed.
        prefix: What the appended names start with.
        labels_above: Thresholds of each face's ``<prefix>_labels``; see ``Labels``. None: those that the frame was
            made with, which its lineage says.

    Returns:
        The same kind of frame. Its columns: the other columns, unchanged; ``<prefix>`` and ``<prefix>_<label>`` of the
        face; with thresholds its ``<prefix>_labels``; its box ``<prefix>_face``; and ``<prefix>_face_count``.
        ``<prefix>_faces`` and ``<prefix>_error`` are removed. Rows keep their order; the faces of an image are ordered
        by size, the largest first. In pandas a row has the index of its image. In Arrow tables large cells, of images
        for example, are not copied. A record batch reader comes back as a reader that works as it is read; its
        batches have at most 64 MiB, or one row.

    Raises:
        FrameTypeError: The object is not such a table.
        ColumnError: There is no list of faces, or another column has the name of one that is made; for a record batch
            also if a column would have more than 2 GiB.
        OptionError: There is ``<prefix>_labels``, but no lineage that says its thresholds; or several columns have one
            of the names.

    Examples:
        >>> df = df.pipe(classify_emotions, faces="all").pipe(explode_faces)
    """
    result: Any
    if isinstance(frame, pa.Table):
        result = FaceRows.from_schema(frame.schema, prefix, labels_above).table(frame.to_batches())
    elif isinstance(frame, pa.RecordBatch):
        result = one_batch(FaceRows.from_schema(frame.schema, prefix, labels_above).table([frame]))
    elif isinstance(frame, pa.RecordBatchReader):
        rows = FaceRows.from_schema(frame.schema, prefix, labels_above)
        result = pa.RecordBatchReader.from_batches(rows.schema, rows.stream(frame))
    elif is_pandas(frame):
        result = _explode_pandas(frame, prefix, labels_above)  # type: ignore[arg-type]  # is_pandas has checked it
    elif (table := narwhals_table(frame)) is not None:
        result = _explode_narwhals(table, prefix, labels_above)
    else:
        result = explode_faces(arrow_table(frame), prefix, labels_above=labels_above)
    exploded: Frame = result
    return exploded


def _explode_pandas(frame: pd.DataFrame, prefix: str, labels_above: Any) -> pd.DataFrame:
    import pandas as pd

    names = pandas_frames.column_names(frame)
    name, lists = OutputColumns((), prefix).all_faces, None
    if names.count(name) == 1:
        series = frame.iloc[:, names.index(name)]
        try:
            values = series.array if pandas_frames.is_arrow(series) else series
            lists = as_chunked(pa.array(values, from_pandas=True))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ColumnTypeError(name, f"{series.dtype} ({error})", NO_FACES) from error
    lineage = frame.attrs.get(pandas_frames.ATTRIBUTE, {})  # of the last operator that appended columns
    is_lineage = prefix in lineage.get("columns", ())
    faces = _face_rows(names, lists, prefix, labels_above, lineage if is_lineage else None)
    rows, made = faces.faces(lists if lists is not None else pa.chunked_array([], pa.null()))
    plain = [place for place in faces.other_positions if not isinstance(frame.dtypes.iloc[place], pd.ArrowDtype)]
    result = frame.iloc[rows, plain]
    may_repeat = frame.flags.allows_duplicate_labels
    for place in sorted(set(faces.other_positions) - set(plain)):
        column = repeat_column(as_chunked(pa.array(frame.iloc[:, place].array)), rows)
        values = pd.array(column, dtype=frame.dtypes.iloc[place])
        result.insert(faces.other_positions.index(place), frame.columns[place], values, allow_duplicates=may_repeat)
    as_arrow = prefix in names and pandas_frames.is_arrow(frame.iloc[:, names.index(prefix)])
    pandas_frames.add_columns(result, made, as_arrow=as_arrow)
    for place in faces.count_positions:
        result[frame.columns[place]] = frame.iloc[rows, place].array
    result.attrs = dict(frame.attrs)
    return result


def _explode_narwhals(table: Any, prefix: str, labels_above: Any) -> Any:
    import narwhals.stable.v2 as nw

    name = OutputColumns((), prefix).all_faces
    lists = read_column(table, name, NO_FACES) if name in table.columns else None
    faces = _face_rows(table.columns, lists, prefix, labels_above)
    rows, made = faces.faces(lists if lists is not None else pa.chunked_array([], pa.null()))
    others, count = (
        [table.columns[place] for place in places] for places in (faces.other_positions, faces.count_positions)
    )
    whole = nw.from_arrow(made, backend=table.implementation)
    if others or count:
        whole = table.select(*others, *count)[rows, :].with_columns(*whole.iter_columns())
    return whole.select(*others, *made.column_names, *count).to_native()


def _face_rows(
    names: list[str], lists: pa.ChunkedArray | None, prefix: str, labels_above: Any, lineage: Any = None
) -> FaceRows:
    """``FaceRows`` of a frame whose columns are not Arrow's, except the faces."""
    name = OutputColumns((), prefix).all_faces
    kinds = [lists.type if one == name and lists is not None else pa.null() for one in names]
    return FaceRows.from_schema(pa.schema(list(zip(names, kinds, strict=True))), prefix, labels_above, lineage)
