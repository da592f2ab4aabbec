"""All opening and reading of Parquet in the lake: footers, and record batches that are bounded by bytes.

Columns are addressed by their position. Arrow's own functions take dotted names, and a file may have two columns of one
name, or a column ``a.b`` next to a struct ``a`` with a field ``b``.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emotion_ops.errors import DatasetError
from emotion_ops.images.meter import Meter
from emotion_ops.io.redact import redact_all
from emotion_ops.lake.targets.folder import Folder

BATCH_BYTES = 8 * 2**20
"""Bytes of a batch in memory, about; Arrow's builders take three times as much while it is read."""

_READ_BUFFER = 4 * 2**20  # of each column, so that a row group is never whole in memory
_MAX_ROWS = 4096
_MAX_ROWS_SHARED = 64  # where a value is stored as what it shares with the one before: its length is not known
_SAMPLE_ROWS = 16  # that are read at a time to find a dictionary
_CORRUPT = ("thrift", "Corrupt", "corruption", "CRC checksum", "page integrity", "decompress", "Unexpected end of")
"""What Arrow's messages say about a corrupt file where it raises OSError."""


@dataclass(frozen=True)
class RowGroup:
    """One row group: its rows, and its bytes without compression."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class Footer:
    """The footer of a Parquet file.

    Attributes:
        schema: The Arrow schema.
        file: The footer itself.
    """

    schema: pa.Schema
    file: pq.FileMetaData = field(repr=False)

    @functools.cached_property
    def row_groups(self) -> tuple[RowGroup, ...]:
        """The row groups, in order."""
        groups = (self.file.row_group(number) for number in range(self.file.num_row_groups))
        return tuple(RowGroup(group.num_rows, group.total_byte_size) for group in groups)

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return int(self.file.num_rows)

    @property
    def key_values(self) -> Mapping[bytes, bytes]:
        """The key-value pairs of the file."""
        return self.file.metadata or {}

    def null_counts(self, column: int) -> tuple[int | None, ...]:
        """The nulls of a flat column in each row group; None where the file does not count them."""
        [leaf] = self.leaves([column])
        chunks = [self.file.row_group(number).column(leaf) for number in range(self.file.num_row_groups)]
        counted = [chunk.statistics if chunk.is_stats_set else None for chunk in chunks]
        return tuple(found.null_count if found is not None and found.has_null_count else None for found in counted)

    def stored_bytes(self, row_group: int, leaves: Sequence[int]) -> int:
        """The bytes of some leaf columns of a row group, as they are stored."""
        group = self.file.row_group(row_group)
        return sum(group.column(leaf).total_compressed_size for leaf in leaves)

    def leaves(self, columns: Sequence[int]) -> list[int]:
        """The numbers of the Parquet leaf columns that make up some columns, in the order of these columns."""
        return [leaf for column in columns for leaf in range(self._ends[column], self._ends[column + 1])]

    def positions(self, columns: Sequence[int | str] | None) -> list[int]:
        """Columns by position. A name means every column that has exactly this name; None means all columns."""
        if columns is None:
            return list(range(len(self.schema)))
        names = self.schema.names
        return [
            position
            for column in columns
            for position in (
                [column] if isinstance(column, int) else [i for i, name in enumerate(names) if name == column]
            )
        ]

    @functools.cached_property
    def _ends(self) -> list[int]:
        """Where the leaves of each column begin; at the end, how many there are."""
        ends = [0]
        for one in self.schema:
            ends.append(ends[-1] + _leaf_count(one.type))
        if ends[-1] != self.file.num_columns:
            raise ValueError(
                f"its Arrow schema has {ends[-1]} leaf columns, its Parquet schema {self.file.num_columns}"
            )
        return ends


class ParquetReader:
    """An open Parquet file; see ``open_parquet``.

    Attributes:
        where: What messages call it.
        footer: Its footer.
    """

    def __init__(self, where: str, source: pa.NativeFile, file: pq.ParquetFile) -> None:
        self.where, self._source, self._file = where, source, file
        self.footer = Footer(file.schema_arrow, file.metadata)

    def batches(
        self,
        columns: Sequence[int | str] | None = None,
        *,
        row_groups: Sequence[int] | None = None,
        min_row_bytes: int = 0,
        meter: Meter | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Read rows in batches of about 8 MiB, each from one row group.

        Args:
            columns: Columns by position or by name, in the order that they are wanted; None reads all. A name means
                every column that has exactly this name; if there is none, it is left out.
            row_groups: Numbers of row groups; None reads all.
            min_row_bytes: Bytes that a row is taken to have at least, for smaller batches.
            meter: Counts the stored bytes of what is read.

        Raises:
            DatasetError: The data cannot be read.
        """
        groups = range(self.footer.file.num_row_groups) if row_groups is None else row_groups
        for group in groups:
            where = self.where if row_groups is None else f"{self.where}, row group {group}"
            with _reading(where):
                leaves = self.footer.leaves(self.footer.positions(columns))
                if meter is not None:
                    meter.read(self.footer.stored_bytes(group, leaves))
                rows = max(1, min(self._batch_rows(group, leaves), BATCH_BYTES // max(1, min_row_bytes)))
                batches = self._file.reader.iter_batches(rows, row_groups=[group], column_indices=leaves)
            while True:
                with _reading(where):
                    batch = next(batches, None)
                if batch is None:
                    break
                yield batch

    def rows(self, columns: Sequence[int | str], first: int = 0, count: int | None = None) -> pa.Table:
        """Some columns of consecutive rows, as one table in memory; for small columns.

        Args:
            columns: As for ``batches``.
            first: The first row.
            count: How many rows; None reads to the end.

        Raises:
            DatasetError: The data cannot be read.
        """
        last = self.footer.rows if count is None else first + count
        groups, start, skipped = [], 0, 0
        for number, group in enumerate(self.footer.row_groups):
            end = start + group.rows
            if end <= first:
                skipped = end
            elif start < last:
                groups.append(number)
            start = end
        schema = pa.schema([self.footer.schema.field(position) for position in self.footer.positions(columns)])
        table = pa.Table.from_batches(self.batches(columns, row_groups=groups), schema)
        return table.slice(first - skipped, last - first)

    def _batch_rows(self, group: int, leaves: Sequence[int]) -> int:
        """Rows of a row group that have about 8 MiB in memory, 1 to 4096.

        The size of a column chunk says little about its rows where they are nulls, or numbers in a dictionary: 6,000
        times one value takes no more than that value. So nulls do not count, and of a dictionary the longest value
        counts.
        """
        metadata, schema = self.footer.file.row_group(group), self._file.schema
        rows, max_rows, row_bytes = metadata.num_rows, _MAX_ROWS, 0
        dictionaries: dict[int, int] = {}
        for number in leaves if rows else ():
            chunk, leaf = metadata.column(number), schema.column(number)
            values = -(-chunk.num_values // rows)  # of one row, in lists
            statistics = chunk.statistics if chunk.is_stats_set else None
            nulls = statistics.null_count if statistics is not None and statistics.has_null_count else 0
            row_bytes += 8 * values + chunk.total_uncompressed_size // max(1, min(rows, chunk.num_values - nulls))
            if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY":
                row_bytes += leaf.length * values
            elif leaf.physical_type == "BYTE_ARRAY" and "DELTA_BYTE_ARRAY" in chunk.encodings:
                max_rows = _MAX_ROWS_SHARED
            elif (
                leaf.physical_type == "BYTE_ARRAY"
                and chunk.has_dictionary_page
                and number not in self._dictionary_leaves
                and chunk.total_uncompressed_size * values * min(rows, _MAX_ROWS) > BATCH_BYTES  # else it cannot matter
            ):
                dictionaries[number] = values
        for number, values in dictionaries.items():
            row_bytes += values * self._longest_in_dictionary(group, number)
        return max(1, min(max_rows, BATCH_BYTES // max(1, row_bytes)))

    @functools.cached_property
    def _dictionary_leaves(self) -> set[int]:
        """Leaves that are read as dictionaries, so that their values are not repeated."""
        fields = enumerate(self.footer.schema)
        return set(self.footer.leaves([number for number, one in fields if pa.types.is_dictionary(one.type)]))

    def _longest_in_dictionary(self, group: int, leaf: int) -> int:
        """Bytes of the longest value in a column chunk's dictionary, which comes with its first value."""
        with pq.ParquetFile(
            self._source, metadata=self.footer.file, read_dictionary=[leaf], buffer_size=_READ_BUFFER, pre_buffer=False
        ) as file:
            batches = file.reader.iter_batches(_SAMPLE_ROWS, row_groups=[group], column_indices=[leaf])
            return next(filter(None, (sum(map(_longest, batch.columns)) for batch in batches)), 0)


@contextlib.contextmanager
def open_parquet(folder: Folder, key: str) -> Iterator[ParquetReader]:
    """Open a Parquet file: reads its footer.

    INT96 timestamps are read as microseconds, since nanoseconds overflow before 1677. Pages are compared with their
    checksums where they have some.

    Args:
        folder: Where it is.
        key: Its key there.

    Raises:
        DatasetError: It cannot be opened, or is not a complete Parquet file.
    """
    with contextlib.ExitStack() as closing:
        with _opening(folder.path(key)):
            source = closing.enter_context(folder.open(key))
            file = pq.ParquetFile(
                source,
                buffer_size=_READ_BUFFER,
                pre_buffer=False,
                page_checksum_verification=True,
                coerce_int96_timestamp_unit="us",
            )
            closing.enter_context(file)
        yield ParquetReader(folder.path(key), source, file)


def read_batches(
    folder: Folder,
    key: str,
    *,
    columns: Sequence[int | str] | None = None,
    row_group: int | None = None,
    min_row_bytes: int = 0,
    meter: Meter | None = None,
) -> Iterator[pa.RecordBatch]:
    """Open a file and read its rows; see ``ParquetReader.batches``.

    Raises:
        DatasetError: It cannot be opened or read.
    """
    with open_parquet(folder, key) as file:
        groups = None if row_group is None else [row_group]
        yield from file.batches(columns, row_groups=groups, min_row_bytes=min_row_bytes, meter=meter)


def read_footer(folder: Folder, key: str) -> Footer:
    """Read the footer of a Parquet file.

    Raises:
        DatasetError: It cannot be opened, or is not a complete Parquet file.
    """
    with open_parquet(folder, key) as file:
        return file.footer


def read_key_values(folder: Folder, key: str) -> Mapping[bytes, bytes]:
    """The key-value pairs in a file's footer; none where there is no readable Parquet file.

    Raises:
        DatasetError: The store did not answer.
    """
    try:
        return read_footer(folder, key).key_values
    except DatasetError as error:
        if error.retryable and not isinstance(error.__cause__, FileNotFoundError | PermissionError):
            raise
        return {}


def is_corrupt(error: Exception) -> bool:
    """Whether Arrow's error is about the content of a file, and not about the way to it.

    Arrow raises ValueError for content, and sometimes OSError, as for a broken connection; then it has no error number.
    Names of files, in quotes, do not count.
    """
    if not isinstance(error, OSError):
        return isinstance(error, ValueError)
    text = re.sub(r"(?<!\w)'[^']*'", "", str(error))
    return error.errno is None and any(sign in text for sign in _CORRUPT)


@contextlib.contextmanager
def _opening(where: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        hint = "check that it exists and may be read, and run again"
        raise DatasetError(where, f"cannot be opened ({redact_all(str(error))})", hint, retryable=True) from error
    except MemoryError:  # Arrow's MemoryError is an ArrowException too
        raise
    except (pa.ArrowException, OSError) as error:
        what = f"is not a complete Parquet file ({redact_all(str(error))})"
        hint = "repair it or move it away, and run again"
        raise DatasetError(where, what, hint, retryable=not is_corrupt(error)) from error


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        what = f"cannot be read ({redact_all(str(error))})"
        hint = "repair the file and run again; finished row groups are kept"
        raise DatasetError(where, what, hint, retryable=not is_corrupt(error)) from error


def _leaf_count(kind: pa.DataType) -> int:
    """How many Parquet leaf columns store a column of this type."""
    if isinstance(kind, pa.BaseExtensionType):
        return _leaf_count(kind.storage_type)
    if pa.types.is_struct(kind):
        return sum(_leaf_count(kind.field(number).type) for number in range(kind.num_fields))
    if pa.types.is_map(kind):
        return _leaf_count(kind.key_type) + _leaf_count(kind.item_type)
    return _leaf_count(kind.value_type) if pa.types.is_nested(kind) else 1


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
