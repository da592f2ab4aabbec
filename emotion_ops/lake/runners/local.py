"""Run row groups in this process, all in one stream: the operator does not wait between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import RowFailedError
from emotion_ops.images.meter import Meter
from emotion_ops.lake.parquet import ParquetReader, open_parquet
from emotion_ops.lake.retry import merge_results
from emotion_ops.lake.runners.base import RowGroupResult, RowGroupTask
from emotion_ops.operators.take_rows import rows_at
from emotion_ops.reports.findings import Findings


class LocalRunner:
    """Runs tasks in this process."""

    def run(self, tasks: Sequence[RowGroupTask]) -> Iterator[RowGroupResult]:
        """See ``Runner.run``."""
        if not tasks:
            return
        meter, operator = Meter(), tasks[0].operator
        schema = operator.appended_schema()
        try:
            for row_group, columns in operator.run(_inputs(tasks, schema, meter), meter, read_ahead=True):
                row_group.add(columns)
                if row_group.is_finished:
                    task, results = row_group.task, row_group.results()
                    task.check_unchanged()  # the journal is for results of what was planned
                    with meter.time("journal"):
                        task.journal.write(task.row_group, results)
                    path = task.source.path(task.key)
                    found = Findings.from_columns(results, operator, path, task.row_group, task.first_row)
                    yield RowGroupResult(task, row_group.rows, found, meter.take())
        except RowFailedError as error:
            raise _located(error, tasks) from error


@dataclass
class RowGroupInProgress:
    """A row group that is being computed.

    Attributes:
        task: The row group.
        schema: The appended columns.
        rows: How many of its rows are computed.
        existing: In a retry, the existing output.
        is_retried: In a retry, for each row whether it is computed again.
        received: How many results have come.
        batches: These results, in order, each batch serialised: many small live Arrow buffers would lie between those
            of the inputs that come and go, and the allocator could not return that memory.
    """

    task: RowGroupTask
    schema: pa.Schema
    rows: int
    existing: pa.Table | None = None
    is_retried: NDArray[np.bool_] | None = None
    received: int = 0
    batches: list[bytes] = field(default_factory=list)

    @classmethod
    def start(cls, task: RowGroupTask, schema: pa.Schema) -> RowGroupInProgress:
        """Begin a row group; for a retry, the existing output is read."""
        if task.retry is None:
            return cls(task, schema, task.rows)
        existing = task.retry.existing_output(task.rows, schema)
        is_retried = task.retry.is_retried(existing)
        return cls(task, schema, int(is_retried.sum()), existing, is_retried)

    @property
    def is_finished(self) -> bool:
        """Whether all results have come."""
        return self.received == self.rows

    def add(self, columns: pa.RecordBatch) -> None:
        """Take the results of the next rows."""
        self.received += columns.num_rows
        self.batches.append(columns.serialize().to_pybytes())

    def inputs(self, file: ParquetReader, meter: Meter) -> Iterator[pa.RecordBatch]:
        """The input columns of the rows that are computed."""
        names = self.task.operator.inputs
        if not self.rows:
            yield pa.RecordBatch.from_arrays([pa.nulls(0)] * len(names), list(names))
            return
        start = 0
        for batch in file.batches(names, row_groups=[self.task.row_group], meter=meter):
            columns = input_columns(batch, names)
            if self.is_retried is not None:
                columns = rows_at(columns, np.flatnonzero(self.is_retried[start : start + batch.num_rows]))
                start += batch.num_rows
            if columns.num_rows:
                yield columns

    def results(self) -> pa.Table:
        """The appended columns of the whole row group."""
        batches = [pa.ipc.read_record_batch(batch, self.schema) for batch in self.batches]
        computed = pa.Table.from_batches(batches, self.schema)
        if self.existing is None or self.is_retried is None:
            return computed
        return merge_results(self.existing, self.is_retried, computed)


def input_columns(batch: pa.RecordBatch, inputs: Sequence[str]) -> pa.RecordBatch:
    """The input columns of some rows of a file, in order; a column that the file lacks is null."""
    names = batch.schema.names
    if not inputs:
        return batch.select([])
    arrays = [batch.column(names.index(name)) if name in names else pa.nulls(batch.num_rows) for name in inputs]
    return pa.RecordBatch.from_arrays(arrays, list(inputs))


def _inputs(
    tasks: Iterable[RowGroupTask], schema: pa.Schema, meter: Meter
) -> Iterator[tuple[RowGroupInProgress, pa.RecordBatch]]:
    """The inputs of all tasks; consecutive row groups of one file share one open file."""
    with contextlib.ExitStack() as open_file:
        opened: tuple[object, object, object] | None = None
        file: ParquetReader | None = None
        for task in tasks:
            if (task.source, task.key, task.stamp) != opened or file is None:
                open_file.close()
                file = open_file.enter_context(open_parquet(task.source, task.key))
                opened = task.source, task.key, task.stamp
            row_group = RowGroupInProgress.start(task, schema)
            for columns in row_group.inputs(file, meter):
                yield row_group, columns


def _located(error: RowFailedError, tasks: Sequence[RowGroupTask]) -> RowFailedError:
    """The same error, with the file and the row in it instead of the row in the stream."""
    row = error.row
    for task in tasks:
        if row < task.rows:
            return RowFailedError(error.code, error.detail, error.column, row, task.path)
        row -= task.rows
    return error
