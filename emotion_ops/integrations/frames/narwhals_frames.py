"""Polars, Modin, cuDF and other frames that narwhals knows: converted to Arrow in slices, never as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from emotion_ops.errors import ColumnTypeError
from emotion_ops.integrations.frames.kinds import ArrowValues, Inputs, as_chunked, empty_schema
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.take_rows import find_column

_SLICE_BYTES = 8 * 2**20
"""Bytes of the input columns that are converted at a time."""


def append_columns(table: Any, operator: TableOperator) -> Any:
    """See ``emotion_ops.append_columns``.

    Args:
        table: A narwhals ``DataFrame``.
        operator: The operator.

    Returns:
        A frame of the library that the table came from.
    """
    import narwhals.stable.v2 as nw

    for name in operator.inputs:
        find_column(name, table.columns)
    operator.append_to(empty_schema(table.columns))  # an appended name that exists is found before the work
    appended = _compute(table.select(*operator.inputs), operator)
    result = table.with_columns(*nw.from_arrow(appended, backend=table.implementation).iter_columns())
    if operator.on_error == "drop":
        result = result.filter(nw.col(appended.column_names[-1]).is_null())
    return result.to_native()


def read_inputs(table: Any, operator: TableOperator, rows: int) -> Inputs:
    """The first rows of an operator's input columns: Python objects where the frame has objects, else Arrow's."""
    for name in operator.inputs:
        find_column(name, table.columns)
    first = table.select(*operator.inputs).head(rows)
    return read_objects(first) if has_objects(first) else read_arrow(first)


def has_objects(table: Any) -> bool:
    """Whether a column has Python objects."""
    import narwhals.stable.v2 as nw

    return any(dtype == nw.Object for dtype in table.schema.values())


def read_arrow(table: Any) -> pa.Table:
    """Copy columns to Arrow.

    Raises:
        ColumnTypeError: Arrow has no such type.
    """
    return pa.table({name: read_column(table, name) for name in table.columns})


def read_objects(table: Any) -> dict[str, Sequence[Any]]:
    """Columns as Python objects; those of the frame's own types by way of Arrow."""
    import narwhals.stable.v2 as nw

    return {
        name: table.get_column(name).to_list() if dtype == nw.Object else ArrowValues(read_column(table, name))
        for name, dtype in table.schema.items()
    }


def read_column(table: Any, name: str, hint: str | None = None) -> pa.ChunkedArray:
    """Copy a column to Arrow.

    Raises:
        ColumnTypeError: Arrow has no such type; ``hint`` says what is expected.
    """
    try:
        return as_chunked(table.get_column(name).to_arrow())
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        raise ColumnTypeError(name, f"{table.schema[name]} ({error})", hint) from error


def _compute(inputs: Any, operator: TableOperator) -> pa.Table:
    if has_objects(inputs):
        return operator.append_columns(read_objects(inputs))
    operator.check_schema(read_arrow(inputs.head(0)).schema)
    batches = (batch for part in _slices(inputs) for batch in read_arrow(part).to_batches())
    appended = [batch for _, batch in operator.run((None, batch) for batch in batches)]
    return pa.Table.from_batches(appended, operator.appended_schema())


def _slices(table: Any) -> Iterator[Any]:
    """Parts of a table, in order, each of at most ``_SLICE_BYTES`` or of one row."""
    if len(table) > 1 and table.estimated_size() > _SLICE_BYTES:
        half = len(table) // 2
        yield from _slices(table[:half])
        yield from _slices(table[half:])
    else:
        yield table
