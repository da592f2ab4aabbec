"""Row groups → answers in the journal, by whoever runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emotion_ops.errors import DatasetError, RowFailedError
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.storage import Folder
from emotion_ops.operators.classify import ClassifyEmotions

_BATCH_BYTES = 32 * 2**20
_BATCH_ROWS = 4096
READ_BUFFER = 4 * 2**20
"""Bytes that a column is read in at a time, so that a row group is never whole in memory."""


@dataclass(frozen=True)
class Unit:
    """One row group to answer; a picklable value that any process can run.

    Attributes:
        source: The folder of the source file.
        key: The source file's key.
        row_group: Its number in the file.
        rows: How many rows it has.
        bytes: Its uncompressed size, by which batches are cut.
        operator: The options.
        journal: Where its answers go.
    """

    source: Folder
    key: str
    row_group: int
    rows: int
    bytes: int
    operator: ClassifyEmotions
    journal: Journal


@dataclass(frozen=True)
class UnitDone:
    """A row group whose answers are in the journal, with its errors by code."""

    unit: Unit
    errors: Counter[str] = field(hash=False)


class Runner(Protocol):
    """Runs units somewhere: here, or on other processes and machines.

    The answers of a unit are in its journal when it is told of, and nothing else is needed to commit it.
    """

    def run(self, units: Sequence[Unit]) -> Iterator[UnitDone]:
        """Run units of equal options, in any order, each once.

        Raises:
            DatasetError: A source cannot be read; what was answered stays in the journal.
            RowFailedError: A row failed under ``on_error="raise"``.
        """
        ...


class LocalRunner:
    """Runs units in this process, all in one stream: the network does not wait between row groups."""

    def run(self, units: Sequence[Unit]) -> Iterator[UnitDone]:
        """See ``Runner.run``."""
        if not units:
            return
        answered: dict[Unit, list[pa.RecordBatch]] = {}
        try:
            for unit, answers in units[0].operator.answer_each(_images(units)):
                batches = answered.setdefault(unit, [])
                batches.append(answers)
                if sum(batch.num_rows for batch in batches) == unit.rows:
                    table = pa.Table.from_batches(answered.pop(unit))
                    unit.journal.write(unit.row_group, table)
                    yield UnitDone(unit, errors_of(table))
        except RowFailedError as error:
            raise _located(error, units) from error


def errors_of(answers: pa.Table) -> Counter[str]:
    """Rows without an answer, by code."""
    failed = pc.drop_null(answers.column(answers.num_columns - 1)).to_pylist()
    return Counter(error.partition(":")[0] for error in failed)


def read_batches(
    folder: Folder, key: str, *, columns: Sequence[str] | None, row_group: int | None, row_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Stream the rows of a file, in batches of about 32 MiB.

    Args:
        folder: Where it lies.
        key: Its key.
        columns: Those to read; None for all.
        row_group: The one to read; None for all.
        row_bytes: What a row holds, uncompressed.

    Raises:
        DatasetError: Its data is broken.
    """
    batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, row_bytes)))
    try:
        with folder.open(key) as opened, pq.ParquetFile(opened, buffer_size=READ_BUFFER, pre_buffer=False) as file:
            groups = None if row_group is None else [row_group]
            yield from file.iter_batches(batch_size=batch_rows, row_groups=groups, columns=columns)
    except (pa.ArrowException, OSError) as error:
        where = folder.path(key) + ("" if row_group is None else f", row group {row_group}")
        raise DatasetError(
            where, f"cannot be read ({error})", "mend the file and run again; finished row groups are kept"
        ) from error


def _images(units: Iterable[Unit]) -> Iterator[tuple[Unit, pa.Array]]:
    for unit in units:
        if unit.rows == 0:
            field = pq.read_schema(unit.source.open(unit.key)).field(unit.operator.image)
            yield unit, pa.array([], field.type)
            continue
        image, row_bytes = unit.operator.image, unit.bytes // unit.rows
        for batch in read_batches(
            unit.source, unit.key, columns=[image], row_group=unit.row_group, row_bytes=row_bytes
        ):
            yield unit, batch.column(0)


def _located(error: RowFailedError, units: Sequence[Unit]) -> RowFailedError:
    """The same error, with the file and the row in it instead of the row in the stream."""
    row = error.row
    for unit in units:
        if row < unit.rows:
            where = f"{unit.source.path(unit.key)}, row group {unit.row_group}"
            return RowFailedError(error.code, error.detail, error.column, row, where)
        row -= unit.rows
    return error
