"""Compose an output file from its source and its journal, prove it, and publish it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from emotion_ops.errors import ColumnNotFoundError, DatasetError, DestinationConflictError, OptionError
from emotion_ops.images.meter import Meter
from emotion_ops.lake import quarantine
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.plan import (
    FAILED_KEY,
    FINGERPRINT_KEY,
    LINEAGE_KEY,
    OUR_KEYS,
    SOURCE_KEY,
    Action,
    FilePlan,
    home_of,
)
from emotion_ops.lake.runners.local import errors_of, read_batches
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.classify.operator import drop_failed

PAGE_BYTES = 2**20
"""Of a data page, about, since a reader needs a page whole."""
GROUP_BYTES = 64 * 2**20
"""Of an output's row group, in memory."""


@dataclass(frozen=True)
class WriteOptions:
    """How an output file is written.

    Attributes:
        columns: What is appended.
        passthrough: The source columns that pass through, in order.
        drop_failed: Whether rows without an answer are left out.
        quarantine: Where failed rows are put too; None for nowhere.
        compression: Parquet's.
        row_group_rows: The most rows of a row group; None leaves it to the bytes.
    """

    columns: OutputColumns
    passthrough: tuple[str, ...]
    drop_failed: bool
    quarantine: Folder | None
    compression: str
    row_group_rows: int | None

    def schema(self, source: pa.Schema) -> pa.Schema:
        """The output's schema for a source's."""
        metadata = {key: value for key, value in (source.metadata or {}).items() if key not in OUR_KEYS}
        kept = pa.schema([field for field in source if field.name in self.passthrough], metadata=metadata or None)
        return self.columns.append_to(kept)


def passthrough_columns(schema: pa.Schema, columns: str | Sequence[str]) -> tuple[str, ...]:
    """The names of the columns of one file that pass through, in its order; see ``enrich_dataset``."""
    if columns == "all":
        return tuple(schema.names)
    if columns == "none" or not columns:
        return ()
    kept, dropped = _named(columns)
    return tuple(name for name in schema.names if (name in kept if kept else name not in dropped))


def check_columns(schemas: Sequence[pa.Schema], columns: str | Sequence[str]) -> None:
    """Refuse columns that no file of a dataset has.

    Raises:
        OptionError: Names to keep and names to leave out are mixed.
        ColumnNotFoundError: No file has a column of the name.
    """
    if columns in ("all", "none"):
        return
    kept, dropped = _named(columns)
    if kept and dropped:
        raise OptionError("columns", columns, "name columns to keep, or columns to leave out with '-', not both")
    known = dict.fromkeys(name for schema in schemas for name in schema.names)
    for name in [*kept, *dropped]:
        if schemas and name not in known:
            raise ColumnNotFoundError(name, list(known))


def _named(columns: str | Sequence[str]) -> tuple[list[str], list[str]]:
    wanted = [columns] if isinstance(columns, str) else list(columns)
    dropped = [name.removeprefix("-") for name in wanted if name.startswith("-")]
    return [name for name in wanted if not name.startswith("-")], dropped


@dataclass(frozen=True)
class Committed:
    """An output file that was published.

    Attributes:
        rows: Its rows.
        bytes: Its size.
        shown: The answers to the rows that were asked for; None where none were.
    """

    rows: int
    bytes: int
    shown: pa.Table | None


def commit(
    plan: FilePlan,
    how: WriteOptions,
    lineage: Mapping[str, str],
    *,
    meter: Meter,
    show: Sequence[int] = (),
    may_publish: Callable[[], None] = lambda: None,
) -> Committed:
    """Make one output file of its source and its journalled answers, and publish it whole.

    It needs nothing but the source, the journal and the plan: any process can do it, and do it again.

    Args:
        plan: The file; all its row groups are in the journal.
        how: How the output is written.
        lineage: What its footer tells of the model.
        meter: Told what it took.
        show: Rows, by their position in the source, whose answers are given back.
        may_publish: Asked when all is ready; it raises where the run has lost its lease meanwhile.

    Raises:
        DatasetError: The source changed since it was planned, or what was written is not what should be.
        DestinationConflictError: The output is not what it was when this was planned: another run made it meanwhile.
        OSError: The destination cannot be written.
    """
    answers = _Answers(plan.journal, len(plan.row_groups), show)
    schema = how.schema(plan.schema)
    if how.quarantine is not None:  # before the output stands, since afterwards nobody would come back for it
        quarantine.write(plan, answers.errors(), how.quarantine, meter)
    with plan.destination.spool() as path:
        page_rows = max(1, min(1024, PAGE_BYTES // max(1, plan.row_bytes)))
        with pq.ParquetWriter(
            path,
            schema,
            compression=how.compression,
            write_batch_size=page_rows,
            write_page_checksum=True,
            write_statistics=_worth_statistics(schema),
        ) as writer:
            for table in _row_groups(plan, how, answers, schema, meter):
                writer.write_table(table)
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            writer.add_key_value_metadata(
                {
                    FINGERPRINT_KEY: plan.fingerprint.to_json(),
                    LINEAGE_KEY: json.dumps({**lineage, "finished_at": finished}, sort_keys=True),
                    SOURCE_KEY: home_of(plan.source),
                    FAILED_KEY: str(answers.failed),
                }
            )
        rows = plan.rows - (answers.failed if how.drop_failed else 0)
        _verify(path, schema, rows, plan)
        size = path.stat().st_size
        may_publish()
        if plan.action is not Action.NEW and plan.destination.entry(plan.key) != plan.standing:
            raise DestinationConflictError(
                plan.destination.path(plan.key),
                "changed since this run planned to replace it",
                "run again",
                retryable=True,
            )
        try:
            plan.destination.publish(path, plan.key, new=plan.action is Action.NEW)
        except FileExistsError as error:
            raise DestinationConflictError(
                plan.destination.path(plan.key),
                "was published by another run since this one was planned",
                "run again: it is skipped if it was made of the same",
                retryable=True,
            ) from error
    plan.journal.remove()
    return Committed(rows, size, answers.shown())


def _worth_statistics(schema: pa.Schema) -> list[str]:
    """All columns but binary and nested ones: each page and footer would hold the least and the largest image."""
    binary = pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary
    images = (*binary, pa.types.is_nested, lambda kind: isinstance(kind, pa.BaseExtensionType))
    return [field.name for field in schema if not any(is_one(field.type) for is_one in images)]


@dataclass
class _Answers:
    """The journalled answers of a file, of which one row group at a time is in memory.

    Attributes:
        journal: Where they lie.
        row_groups: How many row groups the file has.
        show: Rows whose answers are kept, by their position in the file, ascending.
        rows: How many ``tables`` gave.
        failed: Those of them without an answer.
        kept: Of each row group the answers that are shown.
    """

    journal: Journal
    row_groups: int
    show: Sequence[int]
    rows: int = 0
    failed: int = 0
    kept: list[pa.Table] = field(default_factory=list)

    def tables(self) -> Iterator[pa.Table]:
        """Those of each row group, in order, and counted; once."""
        for group in range(self.row_groups):
            table = self.journal.read(group)
            shown = [row - self.rows for row in self.show if 0 <= row - self.rows < table.num_rows]
            self.kept.append(table.take(pa.array(shown, pa.int64())).combine_chunks())
            self.rows += table.num_rows
            self.failed += errors_of(table).total()
            yield table

    def errors(self) -> Iterator[pa.ChunkedArray]:
        """The error column alone, of each row group."""
        for group in range(self.row_groups):
            table = self.journal.read(group)
            yield table.column(table.num_columns - 1)

    def shown(self) -> pa.Table | None:
        """The answers to the rows that are shown; None where there are none to show."""
        return pa.concat_tables(self.kept) if self.kept and self.show else None


def _row_groups(
    plan: FilePlan, how: WriteOptions, answers: _Answers, schema: pa.Schema, meter: Meter
) -> Iterator[pa.Table]:
    """The output's rows, cut into row groups by bytes.

    Dictionaries do not count among these: each row group has them whole, so that cutting would only repeat them. But
    before other dictionaries come than those that wait, a row group is cut that both would make too large.
    """
    waiting: list[pa.RecordBatch] = []
    waiting_rows = waiting_bytes = dictionary_bytes = 0
    dictionaries: dict[int, pa.Array] = {}
    most_rows = how.row_group_rows or plan.rows or 1
    for batch, appended in _side_by_side(plan, how.passthrough, answers, meter):
        passthrough, new_bytes = _with_dictionaries(batch.columns, dictionaries)
        if waiting and waiting_bytes + dictionary_bytes + new_bytes > GROUP_BYTES and new_bytes:
            yield pa.Table.from_batches(waiting, schema)
            waiting, waiting_rows, waiting_bytes, dictionary_bytes = [], 0, 0, 0
        dictionary_bytes += new_bytes
        out = pa.RecordBatch.from_arrays([*passthrough, *appended.columns], schema=schema)
        if how.drop_failed:
            out = drop_failed(out, how.columns.error)
        while out.num_rows:
            part = out.slice(0, most_rows - waiting_rows)
            out = out.slice(part.num_rows)
            waiting.append(part)
            waiting_rows += part.num_rows
            waiting_bytes += _own_bytes(part)
            if waiting_rows >= most_rows or waiting_bytes >= GROUP_BYTES:
                yield pa.Table.from_batches(waiting, schema)
                waiting, waiting_rows, waiting_bytes, dictionary_bytes = [], 0, 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


def _side_by_side(
    plan: FilePlan, passthrough: Sequence[str], answers: _Answers, meter: Meter
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The source's batches, each of one row group, and the answers to their rows."""
    tables, table, start, given = answers.tables(), pa.table({}), 0, 0
    for batch in read_batches(plan.source, plan.entry.key, columns=passthrough, row_group=None, meter=meter):
        while start == table.num_rows and (following := next(tables, None)) is not None:
            table, start = following, 0
        given += batch.num_rows
        if start + batch.num_rows > table.num_rows:
            break
        yield batch, table.slice(start, batch.num_rows).combine_chunks().to_batches()[0]
        start += batch.num_rows
    for _ in tables:  # what is left, to be counted
        pass
    if given != answers.rows:
        raise DatasetError(
            plan.source_path,
            f"gave {given} rows for {answers.rows} answers",
            "run again: it changed meanwhile",
            retryable=True,
        )


def _with_dictionaries(columns: Sequence[pa.Array], known: dict[int, pa.Array]) -> tuple[list[pa.Array], int]:
    """The columns of a batch, with the dictionaries of the batch before where they are equal; the reader copies them.

    Args:
        columns: The columns.
        known: The dictionaries by the column's number; those that are other ones are replaced.

    Returns:
        The columns, and the bytes of the other ones.
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


def _own_bytes(batch: pa.RecordBatch) -> int:
    """What a batch holds beside dictionaries."""
    return sum(
        column.indices.nbytes if isinstance(column, pa.DictionaryArray) else column.nbytes for column in batch.columns
    )


def _verify(path: Path, schema: pa.Schema, rows: int, plan: FilePlan) -> None:
    """Read the footer back, and hold the source against its plan, before anyone may see the output."""
    with pq.ParquetFile(path) as file:
        written, stored = file.metadata.num_rows, file.schema_arrow
        metadata = file.metadata.metadata or {}
    if (
        written != rows
        or not stored.equals(schema)
        or metadata.get(FINGERPRINT_KEY) != plan.fingerprint.to_json().encode()
    ):
        raise DatasetError(
            plan.destination.path(plan.key),
            f"read back with {written} rows of {rows}, or another schema",
            "check the disk and run again",
            retryable=True,
        )
    if plan.source.entry(plan.entry.key) != plan.entry or plan.source.stamp(plan.entry.key) != plan.stamp:
        plan.journal.remove()
        raise DatasetError(plan.source_path, "changed while it was read", "run again: it is done anew", retryable=True)
