"""Kinds of dataframes, told apart without importing their libraries; and what of them is Arrow's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from emotion_ops.errors import FrameTypeError

if TYPE_CHECKING:
    import pandas as pd


def is_pandas(frame: object) -> bool:
    """Without importing pandas; subclasses that live in packages of their own count."""
    return any(base.__module__.partition(".")[0] == "pandas" for base in type(frame).__mro__)


def pandas_names(frame: pd.DataFrame) -> list[str]:
    """The names of a pandas frame's columns, as texts.

    Raises:
        FrameTypeError: It is no frame, or its columns have many levels.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame) or isinstance(frame.columns, pd.MultiIndex):
        raise FrameTypeError(type(frame).__name__, "give a DataFrame with one level of columns, series.to_frame() say")
    return [str(name) for name in frame.columns]


def append_to_pandas(frame: pd.DataFrame, columns: pa.Table, on_arrow: bool) -> None:
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


def is_arrow(series: pd.Series[Any]) -> bool:
    """Whether Arrow holds a pandas column."""
    import pandas as pd

    return isinstance(series.dtype, pd.ArrowDtype)


def chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """What Arrow gives as the one or the other, as the other."""
    return pa.chunked_array([array]) if isinstance(array, pa.Array) else array


def arrow_table(frame: Any) -> pa.Table:
    """What speaks Arrow's C stream, as a table.

    Raises:
        FrameTypeError: It gives none.
    """
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
