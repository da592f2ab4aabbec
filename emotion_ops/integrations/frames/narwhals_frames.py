"""Polars, Modin, cuDF and other frames that narwhals knows. Polars' columns are Arrow's already, and are not copied."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from emotion_ops.errors import ColumnTypeError
from emotion_ops.integrations.frames.kinds import ArrowValues, Inputs, empty_schema
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.take_rows import find_column


def append_columns(table: Any, operator: TableOperator) -> Any:
    """See ``emotion_ops.append_columns``.

    Args:
        table: A narwhals ``DataFrame``.
        operator: The operator.

    Returns:
        A frame of the library that the table came from.
    """
    import narwhals.stable.v2 as nw

    inputs = read_inputs(table, operator)
    operator.append_to(empty_schema(table.columns))  # an appended name that exists is found before the work
    appended = operator.append_columns(inputs)
    result = table.with_columns(*nw.from_arrow(appended, backend=table.implementation).iter_columns())
    if operator.on_error == "drop":
        result = result.filter(nw.col(appended.column_names[-1]).is_null())
    return result.to_native()


def read_inputs(table: Any, operator: TableOperator, rows: int | None = None) -> Inputs:
    """The input columns of an operator: Arrow's, or Python objects where the frame has objects.

    Args:
        table: A narwhals ``DataFrame``.
        operator: The operator.
        rows: Only so many rows, the first; None is all.

    Raises:
        ColumnError: A column is missing, or Arrow has no such type.
    """
    import narwhals.stable.v2 as nw

    for name in operator.inputs:
        find_column(name, table.columns)
    table = table.select(*operator.inputs)[:rows]
    if nw.Object not in table.schema.dtypes():
        return pa.table({name: read_column(table, name) for name in table.columns})
    return {
        name: table.get_column(name).to_list() if dtype == nw.Object else ArrowValues(read_column(table, name))
        for name, dtype in table.schema.items()
    }


def read_column(table: Any, name: str, hint: str | None = None) -> pa.ChunkedArray:
    """A column as Arrow has it; of Polars without a copy.

    Raises:
        ColumnTypeError: Arrow has no such type; ``hint`` says what is expected.
    """
    try:
        return pa.chunked_array(table.get_column(name))
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        raise ColumnTypeError(name, f"{table.schema[name]} ({error})", hint) from error
