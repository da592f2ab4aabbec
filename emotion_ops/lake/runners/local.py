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
from emotion_ops.images.meter import Meter, StageTimes
from emotion_ops.io.redact import redact_all
from emotion_ops.lake.batching import BATCH_BYTES, READ_BUFFER, batch_rows
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.retry import Retry, merged
from emotion_ops.lake.sources.parquet_files import is_broken
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.reports.findings import Findings


@dataclass(frozen=True)
class RowGroupTask:
    """One row group to answer; a picklable value that any process can run.

    Attributes:
        source: The folder of the source file.
        key: The source file's key.
        stamp: Its stamp as it was planned.
        row_group: Its number in the file.
        first_row: Its first row in the file.
        rows: How many rows it has.
        bytes: Its uncompressed size, as its footer says.
        operator: The options.
        journal: Where its answers go.
        retry: Which of its rows are answered again; None answers all.
    """

    source: Folder
    key: str
    stamp: str | None
    row_group: int
    first_row: int
    rows: int
    bytes: int
    operator: ClassifyEmotions
    journal: Journal
    retry: Retry | None = None

    @property
    def path(self) -> str:
        """Where it is, for messages."""
        return f"{self.source.path(self.key)}, row group {self.row_group}"

    def check_unchanged(self) -> None:
        """Refuse to go on with a source that is another than was planned.

        Raises:
            DatasetError: It was changed, replaced or removed since.
        """
        if self.source.stamp(self.key) != self.stamp:
            what = "changed while it was read"
            raise DatasetError(self.source.path(self.key), what, "run again: it is done anew", retryable=True)


@dataclass(frozen=True)
class RowGroupResult:
    """A row group whose answers are in the journal.

    Attributes:
        unit: The row group.
        rows: How many of its rows were answered, all of them but in a retry.
        findings: What its answers say, of all its rows.
        measured: What it took, since the one before of the same process.
    """

    unit: RowGroupTask
    rows: int
    findings: Findings = field(hash=False)
    measured: StageTimes = field(default_factory=StageTimes, hash=False)


class Runner(Protocol):
    """Runs units somewhere: here, or on other processes and machines.

    The answers of a unit are in its journal when it is told of, and nothing else is needed to commit it.
    """

    def run(self, units: Sequence[RowGroupTask]) -> Iterator[RowGroupResult]:
        """Run units of equal options, in any order, each once.

        Raises:
            DatasetError: A source cannot be read; what was answered stays in the journal.
            RowFailedError: A row failed under ``on_error="raise"``.
        """
        ...


class LocalRunner:
    """Runs units in this process, all in one stream: the network does not wait between row groups."""

    def run(self, units: Sequence[RowGroupTask]) -> Iterator[RowGroupResult]:
        """See ``Runner.run``."""
        if not units:
            return
        meter = Meter(duplicates=True)
        try:
            for asked, answers in units[0].operator.answer_each(_images(units, meter), meter, read_ahead=True):
                asked.add(answers)
                if asked.is_answered:
                    unit, table = asked.unit, asked.table()
                    unit.check_unchanged()  # the journal is for answers to what was planned alone
                    with meter.time("journal"):
                        unit.journal.write(unit.row_group, table)
                    columns, path = unit.operator.output_columns(), unit.source.path(unit.key)
                    found = Findings.of(table, columns, path, unit.row_group, unit.first_row)
                    yield RowGroupResult(unit, asked.rows, found, meter.take())
        except RowFailedError as error:
            raise _located(error, units) from error


@dataclass
class RowGroupInProgress:
    """A row group in work.

    Attributes:
        unit: The row group.
        rows: How many of its rows are asked.
        standing: In a retry, the answers that stand.
        again: In a retry, for each row whether it is asked.
        answered: How many answers have come.
        answers: These, in order, each batch as its bytes: the many small blocks of living Arrow batches lie between
            those of the images that come and go, which the allocator could then not give back.
    """

    unit: RowGroupTask
    rows: int
    standing: pa.Table | None = None
    again: pa.Array | None = None
    answered: int = 0
    answers: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, unit: RowGroupTask) -> RowGroupInProgress:
        """Start a row group."""
        if unit.retry is None:
            return cls(unit, unit.rows)
        standing = unit.retry.standing(unit.rows, unit.operator.output_columns())
        again = unit.retry.asked(standing)
        return cls(unit, pc.sum(again).as_py() or 0, standing, again)

    @property
    def is_answered(self) -> bool:
        """Whether all results have come."""
        return self.answered == self.rows

    def add(self, answers: pa.RecordBatch) -> None:
        """Take the results of the next rows."""
        self.answered += answers.num_rows
        self.answers.append(answers.serialize().to_pybytes())

    def images(self, meter: Meter) -> Iterator[pa.Array]:
        """The images of the rows that are asked; of a file without the column nulls, as pyarrow.dataset reads it."""
        if not self.rows:
            yield pa.nulls(0)
            return
        start, columns = 0, [self.unit.operator.image]
        for batch in read_batches(
            self.unit.source,
            self.unit.key,
            columns=columns,
            row_group=self.unit.row_group,
            meter=meter,
        ):
            images = batch.column(0) if batch.num_columns else pa.nulls(batch.num_rows)
            if self.again is not None:
                images = images.filter(self.again.slice(start, batch.num_rows))
                start += batch.num_rows
            if len(images):
                yield images

    def table(self) -> pa.Table:
        """The answers of the whole row group."""
        schema = pa.schema(self.unit.operator.output_columns().fields())
        answers = pa.Table.from_batches([pa.ipc.read_record_batch(batch, schema) for batch in self.answers], schema)
        return answers if self.standing is None else merged(self.standing, self.again, answers)


def errors_of(answers: pa.Table) -> Counter[str]:
    """Rows without an answer, by code."""
    failed = pc.drop_null(answers.column(answers.num_columns - 1)).to_pylist()
    return Counter(error.partition(":")[0] for error in failed)


def read_batches(
    folder: Folder,
    key: str,
    *,
    columns: Sequence[str] | None,
    row_group: int | None,
    row_bytes: int = 0,
    meter: Meter | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream the rows of a file, in batches of about 8 MiB, each of one row group.

    Args:
        folder: Where it lies.
        key: Its key.
        columns: Those to read; None for all.
        row_group: The one to read; None for all.
        row_bytes: What a row is taken to hold at the least; for smaller batches than the bytes ask for.
        meter: Told the stored size of what is read; None tells nobody.

    Raises:
        DatasetError: Its data is broken.
    """
    try:
        with (
            folder.open(key) as opened,
            pq.ParquetFile(
                opened,
                buffer_size=READ_BUFFER,
                pre_buffer=False,
                page_checksum_verification=True,
                coerce_int96_timestamp_unit="us",  # nanoseconds, the default, overflow silently before 1677
            ) as file,
        ):
            groups = None if row_group is None else [row_group]
            if meter is not None:
                meter.read(_stored_bytes(file.metadata, groups, columns))
            for group in range(file.num_row_groups) if groups is None else groups:
                size = min(batch_rows(file, opened, group, columns), BATCH_BYTES // max(1, row_bytes)) or 1
                for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=columns):
                    yield batch if columns is None else _exactly(columns, batch)
    except MemoryError:  # Arrow's own is an ArrowException
        raise
    except (pa.ArrowException, OSError) as error:
        where = folder.path(key) + ("" if row_group is None else f", row group {row_group}")
        raise DatasetError(
            where,
            f"cannot be read ({redact_all(str(error))})",
            "mend the file and run again; finished row groups are kept",
            retryable=not is_broken(error),
        ) from error


def _stored_bytes(metadata: pq.FileMetaData, groups: Sequence[int] | None, columns: Sequence[str] | None) -> int:
    """The size of column chunks as they are stored: of these row groups and top-level columns, None for all."""
    tops = None if columns is None else set(columns)
    chosen = range(metadata.num_row_groups) if groups is None else groups
    chunks = (metadata.row_group(g).column(c) for g in chosen for c in range(metadata.num_columns))
    return sum(
        chunk.total_compressed_size
        for chunk in chunks
        if tops is None or chunk.path_in_schema in tops or chunk.path_in_schema.partition(".")[0] in tops
    )


def _exactly(columns: Sequence[str], batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns of these names alone: the reader takes ``a.b`` for a field of ``a`` too, and reads both."""
    wanted = [number for number, name in enumerate(batch.schema.names) if name in columns]
    return batch if len(wanted) == batch.num_columns else batch.select(wanted)


def _images(units: Iterable[RowGroupTask], meter: Meter) -> Iterator[tuple[RowGroupInProgress, pa.Array]]:
    for unit in units:
        asked = RowGroupInProgress.of(unit)
        for images in asked.images(meter):
            yield asked, images


def _located(error: RowFailedError, units: Sequence[RowGroupTask]) -> RowFailedError:
    """The same error, with the file and the row in it instead of the row in the stream."""
    row = error.row
    for unit in units:
        if row < unit.rows:
            return RowFailedError(error.code, error.detail, error.column, row, unit.path)
        row -= unit.rows
    return error
