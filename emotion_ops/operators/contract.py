"""Checks that an operator keeps the contract of ``TableOperator``; if it does not, ``OperatorError`` says how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from emotion_ops.errors import OperatorError, RowError
from emotion_ops.operators.rows import Items


def check_inputs(operator: str, inputs: Any) -> tuple[str, ...]:
    """The names of the inputs: at least one text.

    Args:
        operator: The operator's name, for messages; so in all functions here.
        inputs: What ``inputs`` gave.
    """
    if not isinstance(inputs, tuple | list) or not inputs or not all(isinstance(name, str) for name in inputs):
        raise OperatorError(operator, f"inputs is {inputs!r}, not a tuple of column names such as ('image',)")
    return tuple(inputs)


def check_fields(operator: str, fields: Sequence[pa.Field]) -> pa.Schema:
    """The schema of the output fields, whose names differ, whose values may be null, and whose last is a string."""
    schema = pa.schema(fields)
    if not fields or schema.types[-1] != pa.string():
        what = f"the last is {fields[-1]}" if fields else "there are none"
        raise OperatorError(operator, f"the last of output_fields must be the error column, a string, but {what}")
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise OperatorError(operator, f"output_fields has {', '.join(map(repr, twice))} more than once")
    if required := [field.name for field in fields if not field.nullable]:
        what = f"output_fields has {required[0]!r}, which cannot be null, but it is null in failed rows"
        raise OperatorError(operator, what)
    return schema


def check_results(operator: str, results: Any, count: int) -> Items:
    """What ``compute`` gave for some items: a sequence of one result for each."""
    if not hasattr(results, "__len__") or not hasattr(results, "__getitem__"):
        raise OperatorError(operator, f"compute gave a value of type {type(results).__name__}, not a sequence")
    if len(results) != count:
        raise OperatorError(operator, f"compute gave {len(results)} results for {count} items")
    return results  # type: ignore[no-any-return]  # as much of a sequence as is used


def append_errors(operator: str, columns: Sequence[Any], results: Sequence[Any], schema: pa.Schema) -> pa.RecordBatch:
    """What ``finish`` gave for some rows, and the error column.

    Args:
        operator: The operator's name.
        columns: A column for each field but the last.
        results: For each row its result or its ``RowError``.
        schema: The output fields.
    """
    if not isinstance(columns, list | tuple) or len(columns) != len(schema) - 1:
        count = len(columns) if isinstance(columns, list | tuple) else f"a {type(columns).__name__}, not a list of"
        raise OperatorError(operator, f"finish gave {count} columns for {len(schema) - 1} fields and an error column")
    for field, column in zip(schema, columns, strict=False):
        if not isinstance(column, pa.Array) or column.type != field.type or len(column) != len(results):
            found = f"{column.type}, {len(column)} values" if isinstance(column, pa.Array) else type(column).__name__
            wanted = f"{field.type}, {len(results)} values"
            raise OperatorError(operator, f"finish gave {found} for the column {field.name!r}, which is {wanted}")
    errors = [str(result) if isinstance(result, RowError) else None for result in results]
    return pa.RecordBatch.from_arrays([*columns, pa.array(errors, pa.string())], schema=schema)


def columns_from_values(operator: str, results: Sequence[Any], fields: Sequence[pa.Field]) -> list[pa.Array]:
    """Columns of results that are values: a tuple of one for each field, or the value itself if there is one field.

    Args:
        operator: The operator's name.
        results: For each row its result, or the ``RowError`` that it failed with.
        fields: The output fields but the error column.
    """
    rows = [_values(operator, result, len(fields)) for result in results]
    columns = []
    for place, field in enumerate(fields):
        try:
            columns.append(pa.array([row[place] for row in rows], field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            what = f"a result does not fit the column {field.name!r}, which is {field.type} ({error})"
            raise OperatorError(operator, what) from error
    return columns


def _values(operator: str, result: Any, count: int) -> Items:
    if isinstance(result, RowError):
        return [None] * count
    if not count:
        return []
    if count == 1 and not isinstance(result, tuple):
        return [result]
    if isinstance(result, Sequence | np.ndarray) and not isinstance(result, str | bytes) and len(result) == count:
        return result
    what = f"compute gave {result!r:.80}, which is not a tuple of {count} values: return one, or define finish"
    raise OperatorError(operator, what)
