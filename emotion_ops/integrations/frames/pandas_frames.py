"""pandas: input columns as they are, and appended columns with the dtypes that pandas users expect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from emotion_ops.errors import ColumnTypeError, FrameTypeError
from emotion_ops.integrations.frames.kinds import ArrowValues, Inputs, as_chunked, empty_schema
from emotion_ops.operators.base import METADATA_KEY, TableOperator
from emotion_ops.operators.take_rows import find_column

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTE = METADATA_KEY.decode()
"""The key of the lineage in ``DataFrame.attrs``."""


def append_columns(frame: pd.DataFrame, operator: TableOperator) -> pd.DataFrame:
    """See ``emotion_ops.append_columns``."""
    inputs = read_inputs(frame, operator)
    operator.append_to(empty_schema(column_names(frame)))  # an appended name that exists is found before the work
    appended = operator.append_columns(inputs)
    result = frame.copy(deep=False)
    add_columns(result, appended, as_arrow=isinstance(inputs, pa.Table))
    result.attrs = {**frame.attrs, ATTRIBUTE: json.loads(appended.schema.field(0).metadata[METADATA_KEY])}
    if operator.on_error == "drop":
        result = result[result.iloc[:, -1].isna().to_numpy()]
    return result


def column_names(frame: pd.DataFrame) -> list[str]:
    """The names of the columns as text.

    Raises:
        FrameTypeError: It is not a frame, or its columns have several levels.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame) or isinstance(frame.columns, pd.MultiIndex):
        hint = "give a DataFrame with one level of columns, for example series.to_frame()"
        raise FrameTypeError(type(frame).__name__, hint)
    return [str(name) for name in frame.columns]


def read_inputs(frame: pd.DataFrame, operator: TableOperator, rows: int | None = None) -> Inputs:
    """The input columns of an operator, without copies: Arrow's where all are backed by Arrow, else Python objects.

    Args:
        frame: The frame.
        operator: The operator.
        rows: Only so many rows, the first; None is all.

    Raises:
        ColumnError: A column is missing or has no images.
        OptionError: Several columns have the name of an input.
    """
    names = column_names(frame)
    columns = {name: frame.iloc[:rows, find_column(name, names)] for name in operator.inputs}
    if all(map(is_arrow, columns.values())):
        return pa.table({name: as_chunked(pa.array(series.array)) for name, series in columns.items()})
    for name in operator.image_inputs:
        _check_images(columns[name], name)
    return {
        name: ArrowValues(as_chunked(pa.array(series.array))) if is_arrow(series) else series.to_numpy(dtype=object)
        for name, series in columns.items()
    }


def add_columns(frame: pd.DataFrame, columns: pa.Table, *, as_arrow: bool) -> None:
    """Add columns to a frame, which is changed.

    Args:
        frame: The frame.
        columns: The columns, with as many rows as the frame.
        as_arrow: Keep Arrow's types. Else: numpy floats, nullable integers and truth values, ``str`` where pandas
            infers it, and Python objects for the rest.
    """
    for name, column in zip(columns.column_names, columns.columns, strict=True):
        frame[name] = _series(column, frame.index, as_arrow=as_arrow)


def is_arrow(series: pd.Series[Any]) -> bool:
    """Whether a column is backed by Arrow."""
    import pandas as pd

    return isinstance(series.dtype, pd.ArrowDtype)


def _series(column: pa.ChunkedArray, index: pd.Index[Any], *, as_arrow: bool) -> pd.Series[Any]:
    import pandas as pd

    kind = column.type
    if as_arrow:
        return pd.Series(pd.array(column, dtype=pd.ArrowDtype(kind)), index=index)
    if pa.types.is_floating(kind):
        return pd.Series(column.to_numpy(), index=index)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return pd.Series(column.to_pandas().array, index=index)
    dtype: Any = object  # Parquet that pandas writes of nested columns on Arrow cannot be read again
    if pa.types.is_integer(kind):
        dtype = pd.api.types.pandas_dtype(str(kind).replace("i", "I", 1).replace("u", "U", 1))
    elif pa.types.is_boolean(kind):
        dtype = "boolean"
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        dtype = pd.Series([""]).dtype  # "str" or object, by pandas' version and options
    series: pd.Series[Any] = pd.Series(column.to_pylist(), index=index, dtype=dtype)
    return series


def _check_images(series: pd.Series[Any], column: str) -> None:
    """Refuse columns of numbers, dates and the like before any work."""
    import pandas as pd

    values = series.cat.categories if isinstance(series.dtype, pd.CategoricalDtype) else series
    content = pd.api.types.infer_dtype(values, skipna=True)
    is_missing = bool(series.isna().all()) and (len(series) > 0 or pd.api.types.is_float_dtype(series.dtype))
    if not is_missing and content not in ("string", "bytes", "empty") and not content.startswith("mixed"):
        raise ColumnTypeError(column, f"{series.dtype} ({content})")
