"""Kinds of dataframes, recognised without importing their libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from emotion_ops.errors import FrameTypeError

Inputs: TypeAlias = "pa.Table | Mapping[str, Sequence[Any]]"
"""The input columns of an operator: as Arrow has them, or as Python objects where a frame has objects."""


class ArrowValues(Sequence[Any]):
    """An Arrow column as a sequence of Python objects, each made when it is asked for."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: Any) -> Any:
        return self._column[row].as_py()


def is_pandas(frame: object) -> bool:
    """Whether it is pandas', or of a subclass in another package; pandas is not imported for it."""
    return any(base.__module__.partition(".")[0] == "pandas" for base in type(frame).__mro__)


def narwhals_table(frame: object) -> Any:
    """A frame of a library that narwhals knows, as its ``DataFrame``; None for any other object."""
    import narwhals.stable.v2 as nw

    try:
        return nw.from_native(frame, eager_only=True)
    except TypeError:
        return None


def arrow_table(frame: Any) -> pa.Table:
    """Read an object with ``__arrow_c_stream__`` as a table.

    Raises:
        FrameTypeError: It has none, or is not a table.
    """
    if hasattr(frame, "__arrow_c_stream__"):
        try:
            return pa.table(frame)
        except pa.ArrowException:  # a single column has the method too: a Polars Series, for example
            pass
    raise FrameTypeError(
        type(frame).__name__,
        "give a pandas, Polars or PyArrow table, or an object with __arrow_c_stream__; "
        "collect() a lazy frame first, and put a single column into a table",
    )


def as_chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """An Arrow array as a chunked one."""
    return pa.chunked_array([array]) if isinstance(array, pa.Array) else array


def empty_schema(names: Sequence[str]) -> pa.Schema:
    """A schema of these names alone, for checks that look at names."""
    return pa.schema([pa.field(name, pa.null()) for name in names])
