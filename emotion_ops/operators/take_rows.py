"""Rows and columns of Arrow tables by position, without copies of large values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emotion_ops.errors import ColumnNotFoundError, ColumnTypeError, FrameTypeError, OptionError

RowNumbers: TypeAlias = NDArray[np.int64]
ArrowTable = TypeVar("ArrowTable", pa.Table, pa.RecordBatch)

_WIDE_BYTES = 1024
"""Mean bytes of the cells of a column above which a slice for each run of rows takes less time than a copy."""

_BATCH_BYTES = 64 * 2**20
"""Maximum bytes of a record batch that is made of others."""


def repeat(array: pa.Array, rows: RowNumbers) -> pa.ChunkedArray:
    """Rows of an array by their numbers, which ascend and may repeat.

    Arrow's ``take`` copies values, supports neither views nor run-end encoding, and overflows beyond 2 GiB. So of
    views only the pointers are copied, and of wide cells, such as images, each run of rows is a slice of the array.

    Args:
        array: A column of a record batch, of any type.
        rows: The row numbers.
    """
    kind = array.type
    if _is_view(kind):
        return pa.chunked_array([_views(array, rows)])
    is_wide = _is_wide(array, rows)
    if not is_wide:
        try:
            return pa.chunked_array([array.take(pa.array(rows))])
        except pa.ArrowNotImplementedError:  # run-end encoding, and views in nested types
            pass
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []
    pieces = [array.slice(int(run[0]), len(run)) for run in runs]
    return pa.chunked_array(pieces if is_wide or not pieces else [pa.concat_arrays(pieces)], kind)


def repeat_column(column: pa.ChunkedArray, rows: RowNumbers) -> pa.ChunkedArray:
    """``repeat`` for a column in chunks."""
    pieces, start = [], 0
    for chunk in column.chunks:
        first, last = np.searchsorted(rows, [start, start + len(chunk)])
        pieces += repeat(chunk, rows[first:last] - start).chunks
        start += len(chunk)
    return pa.chunked_array(pieces, column.type)


def compact(table: pa.Table, max_bytes: int = _BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """A table as record batches of at most ``max_bytes`` or of one row each; of a table without rows there are none."""
    if table.num_rows > 1 and _bytes(table) > max_bytes:
        half = table.num_rows // 2
        yield from compact(table.slice(0, half), max_bytes)
        yield from compact(table.slice(half), max_bytes)
    elif table.num_rows:
        yield one_batch(table)


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """A table as one record batch.

    Raises:
        ColumnTypeError: A column has more than a record batch can hold.
    """
    arrays = []
    for field, column in zip(table.schema, table.columns, strict=True):
        try:
            is_long = field.type in (pa.string(), pa.binary()) and column.nbytes >= 2**31  # checked before it is copied
            array = column.combine_chunks() if not is_long else None
        except pa.ArrowInvalid:
            array = None
        if not isinstance(array, pa.Array):
            hint = "more than the 2 GiB that one record batch can hold: give a Table or a RecordBatchReader"
            raise ColumnTypeError(field.name, str(field.type), hint)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def rows_at(table: ArrowTable, rows: NDArray[np.integer[Any]]) -> ArrowTable:
    """Some rows of a table, by their positions, in ascending order.

    They are cut out as slices: Arrow's filter and take support neither views nor run-end encoding, and overflow where
    a column holds more than 2 GiB.
    """
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    slices = [table.slice(int(run[0]), len(run)) for run in runs if len(run)] or [table.slice(0, 0)]
    return pa.concat_batches(slices) if isinstance(table, pa.RecordBatch) else pa.concat_tables(slices)


def slices(batch: pa.RecordBatch, max_rows: int) -> Iterator[tuple[pa.RecordBatch, bool]]:
    """A batch in slices of at most ``max_rows`` rows, each with whether it is the last; at least one slice."""
    for start in range(0, max(1, batch.num_rows), max_rows):
        yield batch.slice(start, max_rows), start + max_rows >= batch.num_rows


def drop_failed(table: ArrowTable) -> ArrowTable:
    """The rows of an enriched table whose error column, the last one, is null; in their order."""
    good = np.flatnonzero(pc.is_null(table.column(table.num_columns - 1)).to_numpy(zero_copy_only=False))
    return table if len(good) == table.num_rows else rows_at(table, good)


def check_batch(batch: Any) -> pa.RecordBatch:
    """Refuse what is not a record batch.

    Raises:
        FrameTypeError: It is something else.
    """
    if not isinstance(batch, pa.RecordBatch):
        raise FrameTypeError(type(batch).__name__, "give record batches here, for example table.to_batches()")
    return batch


def find_column(name: str, names: Sequence[str]) -> int:
    """The position of an input among a table's columns.

    Raises:
        ColumnNotFoundError: There is none.
        OptionError: Several columns have its name.
    """
    if name not in names:
        raise ColumnNotFoundError(name, names)
    if (copies := names.count(name)) > 1:
        raise OptionError("input", name, f"{copies} columns have this name; rename all but one")
    return names.index(name)


def _views(array: pa.Array, rows: RowNumbers) -> pa.Array:
    valid, views, *data = array.buffers()
    taken = pa.Array.from_buffers(pa.binary(16), len(array), [valid, views], offset=array.offset).take(pa.array(rows))
    return pa.Array.from_buffers(array.type, len(rows), [*taken.buffers(), *data])


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _is_wide(array: pa.Array, rows: RowNumbers) -> bool:
    kind = array.type
    if pa.types.is_dictionary(kind):  # only its indices are copied
        return False
    if kind in (pa.string(), pa.binary(), pa.large_string(), pa.large_binary()):
        lengths = pc.binary_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        return bool(lengths[rows].sum() > _WIDE_BYTES * len(rows))
    return bool(array.nbytes > _WIDE_BYTES * len(array))


def _bytes(table: pa.Table) -> int:
    """Bytes of a copy, without the values that batches share: dictionaries, and the values of views."""
    return sum(column.nbytes for column in table.columns if not _is_shared(column.type))


def _is_shared(kind: pa.DataType) -> bool:
    if _is_view(kind) or pa.types.is_dictionary(kind):
        return True
    return pa.types.is_nested(kind) and any(_is_shared(kind.field(place).type) for place in range(kind.num_fields))
