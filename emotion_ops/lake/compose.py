"""The rows of an output: the columns of its source that pass through, next to the journalled results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from emotion_ops.errors import DatasetError
from emotion_ops.images.meter import Meter
from emotion_ops.lake.plan import FilePlan
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.take_rows import drop_failed
from emotion_ops.reports.findings import Findings

GROUP_BYTES = 64 * 2**20
"""Bytes of an output's row group in memory, about."""


@dataclass
class JournalledResults:
    """The results of a file, one row group at a time in memory.

    Attributes:
        plan: The file.
        operator: What computed them.
        show: Rows of the file whose results are returned for the report, ascending.
        rows: How many rows ``tables`` has yielded.
        findings: What they say.
    """

    plan: FilePlan
    operator: TableOperator
    show: Sequence[int]
    rows: int = 0
    findings: Findings = field(default_factory=Findings)
    _shown: list[pa.Table] = field(default_factory=list)

    def tables(self) -> Iterator[pa.Table]:
        """The appended columns of each row group, in order; they are counted, so call it once."""
        for group in range(len(self.plan.row_groups)):
            table = self.plan.journal.read(group)
            shown = [row - self.rows for row in self.show if 0 <= row - self.rows < table.num_rows]
            self._shown.append(table.take(pa.array(shown, pa.int64())).combine_chunks())
            self.findings.add(Findings.from_columns(table, self.operator, self.plan.source_path, group, self.rows))
            self.rows += table.num_rows
            yield table

    def errors(self) -> Iterator[pa.ChunkedArray]:
        """The error column of each row group."""
        for group in range(len(self.plan.row_groups)):
            table = self.plan.journal.read(group)
            yield table.column(table.num_columns - 1)

    def shown(self) -> pa.Table | None:
        """The results of the rows in ``show``; None if there are none."""
        return pa.concat_tables(self._shown) if self._shown and self.show else None


def output_row_groups(
    plan: FilePlan,
    passthrough: Sequence[int],
    results: JournalledResults,
    schema: pa.Schema,
    *,
    drop: bool,
    max_rows: int | None,
    meter: Meter,
) -> Iterator[pa.Table]:
    """The rows of an output, divided into row groups by bytes.

    Dictionaries do not count among these bytes: each row group has them whole, so that dividing would only repeat them.
    But where a batch comes with other dictionaries, a new row group begins if both would make one too large.

    Args:
        plan: The file.
        passthrough: Positions of the source columns that pass through.
        results: The results.
        schema: The output's schema.
        drop: Whether failed rows are left out.
        max_rows: Maximum rows of a row group; None for no limit.
        meter: Counts what is read.

    Raises:
        DatasetError: The source cannot be read, or is not the planned one.
    """
    waiting = _Waiting(schema, max_rows or plan.rows or 1)
    dictionaries: dict[int, pa.Array] = {}
    for batch, appended in _side_by_side(plan, passthrough, results, meter):
        columns, new_bytes = _share_dictionaries(batch.columns, dictionaries)
        if waiting.batches and new_bytes and waiting.bytes + waiting.dictionary_bytes + new_bytes > GROUP_BYTES:
            yield waiting.take()
        waiting.dictionary_bytes += new_bytes
        out = pa.RecordBatch.from_arrays([*columns, *appended.columns], schema=schema)
        if drop:
            out = drop_failed(out)
        while out.num_rows:
            part = out.slice(0, waiting.max_rows - waiting.rows)
            out = out.slice(part.num_rows)
            waiting.add(part)
            if waiting.is_full:
                yield waiting.take()
    if waiting.batches:
        yield waiting.take()


@dataclass
class _Waiting:
    """Rows of the row group that is being filled."""

    schema: pa.Schema
    max_rows: int
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    dictionary_bytes: int = 0

    @property
    def is_full(self) -> bool:
        return self.rows >= self.max_rows or self.bytes >= GROUP_BYTES

    def add(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)
        self.rows += batch.num_rows
        self.bytes += _bytes_without_dictionaries(batch)

    def take(self) -> pa.Table:
        table = pa.Table.from_batches(self.batches, self.schema)
        self.batches, self.rows, self.bytes, self.dictionary_bytes = [], 0, 0, 0
        return table


def _side_by_side(
    plan: FilePlan, passthrough: Sequence[int], results: JournalledResults, meter: Meter
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The source's batches, each from one row group, and the results of their rows."""
    tables, table, start, read = results.tables(), pa.table({}), 0, 0
    with plan.open_source() as file:
        for batch in file.batches(passthrough, meter=meter):
            while start == table.num_rows and (following := next(tables, None)) is not None:
                table, start = following, 0
            read += batch.num_rows
            if start + batch.num_rows > table.num_rows:
                break
            yield batch, table.slice(start, batch.num_rows).combine_chunks().to_batches()[0]
            start += batch.num_rows
    for _ in tables:  # the rest is counted
        pass
    if read != results.rows:
        what, hint = f"has {read:,} rows, for {results.rows:,} results", "run again: it changed while it was read"
        raise DatasetError(plan.source_path, what, hint, retryable=True)


def _share_dictionaries(columns: Sequence[pa.Array], known: dict[int, pa.Array]) -> tuple[list[pa.Array], int]:
    """Replace the dictionaries of a batch by equal ones of the batch before; the reader copies them for every batch.

    Args:
        columns: The columns.
        known: The last dictionary of each column by number; updated.

    Returns:
        The columns, and the bytes of dictionaries that are new.
    """
    shared, new_bytes = list(columns), 0
    for number, column in enumerate(columns):
        if isinstance(column, pa.DictionaryArray):
            if number in known and column.dictionary.equals(known[number]):
                shared[number] = pa.DictionaryArray.from_arrays(
                    column.indices, known[number], ordered=column.type.ordered, safe=False
                )
            else:
                known[number] = column.dictionary
                new_bytes += column.dictionary.nbytes
    return shared, new_bytes


def _bytes_without_dictionaries(batch: pa.RecordBatch) -> int:
    return sum(
        column.indices.nbytes if isinstance(column, pa.DictionaryArray) else column.nbytes for column in batch.columns
    )
