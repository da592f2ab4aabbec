"""How many rows of a row group are read at once, so that a batch is bounded by bytes whatever its encoding."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BATCH_BYTES = 8 * 2**20
"""Of a batch that is read, about; Arrow's builders take three times as much while it is read."""
READ_BUFFER = 4 * 2**20
"""Bytes that a column is read in at a time, so that a row group is never whole in memory."""

_MOST_ROWS = 4096
_UNTOLD_ROWS = 64  # where values are stored as what they share with those before, and nothing tells their lengths
_PEEKED_ROWS = 16  # at once, until one has a value


def batch_rows(file: pq.ParquetFile, opened: pa.NativeFile, group: int, columns: Sequence[str] | None) -> int:
    """Rows of a row group that hold about 8 MiB in memory, 1 to 4096.

    A column chunk's size tells little of its rows where they are nulls, or numbers in a dictionary: 6,000 times one
    image takes no more than that image. So nulls do not count, and of a dictionary the longest value counts.

    Args:
        file: The file.
        opened: What it is read from; read again where a column has a dictionary.
        group: The number of the row group.
        columns: The top-level columns that are read; None for all.
    """
    metadata = file.metadata.row_group(group)
    rows, most, row_bytes = metadata.num_rows, _MOST_ROWS, 0
    kept = [field.name for field in file.schema_arrow if pa.types.is_dictionary(field.type)]  # read as they are
    dictionaries: dict[str, int] = {}
    for number in range(metadata.num_columns if rows else 0):
        chunk, leaf = metadata.column(number), file.schema.column(number)
        if columns is not None and not {leaf.path, leaf.path.partition(".")[0]} & set(columns):
            continue
        a_row = -(-chunk.num_values // rows)  # values of a row, in lists
        known = chunk.statistics if chunk.is_stats_set else None
        nulls = known.null_count if known is not None and known.has_null_count else 0
        row_bytes += 8 * a_row + chunk.total_uncompressed_size // max(1, min(rows, chunk.num_values - nulls))
        if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY":
            row_bytes += leaf.length * a_row
        elif leaf.physical_type == "BYTE_ARRAY" and "DELTA_BYTE_ARRAY" in chunk.encodings:
            most = _UNTOLD_ROWS
        elif (
            leaf.physical_type == "BYTE_ARRAY"
            and chunk.has_dictionary_page
            and leaf.path not in kept
            and chunk.total_uncompressed_size * a_row * min(rows, _MOST_ROWS) > BATCH_BYTES  # else it cannot matter
        ):
            dictionaries[leaf.path] = a_row
    for path, a_row in dictionaries.items():
        row_bytes += a_row * _longest_of_dictionary(file, opened, group, path)
    return max(1, min(most, BATCH_BYTES // max(1, row_bytes)))


def _longest_of_dictionary(file: pq.ParquetFile, opened: pa.NativeFile, group: int, path: str) -> int:
    """Bytes of the longest value in a column chunk's dictionary, which its first value brings along."""
    with pq.ParquetFile(
        opened, metadata=file.metadata, read_dictionary=[path], buffer_size=READ_BUFFER, pre_buffer=False
    ) as peeked:
        batches = peeked.iter_batches(batch_size=_PEEKED_ROWS, row_groups=[group], columns=[path])
        return next(filter(None, (sum(map(_longest, batch.columns)) for batch in batches)), 0)


def _longest(array: pa.Array) -> int:
    if isinstance(array, pa.DictionaryArray):
        return pc.max(pc.binary_length(array.dictionary)).as_py() or 0
    if isinstance(array, pa.ExtensionArray):
        return _longest(array.storage)
    if isinstance(array, pa.StructArray):
        return sum(_longest(array.field(number)) for number in range(array.type.num_fields))
    if isinstance(array, pa.MapArray):
        return _longest(array.keys) + _longest(array.items)
    return _longest(array.values) if pa.types.is_nested(array.type) else 0
