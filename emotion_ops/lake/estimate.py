"""Estimate what a job will take, from a small sample of its rows: time, memory, failed rows, and what limits it."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from emotion_ops.images.meter import Meter
from emotion_ops.lake.columns import passthrough_columns
from emotion_ops.lake.compose import GROUP_BYTES
from emotion_ops.lake.parquet import BATCH_BYTES, Footer
from emotion_ops.lake.plan import FilePlan
from emotion_ops.lake.row_errors import error_counts
from emotion_ops.lake.runners.local import input_columns
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.resources import Cache
from emotion_ops.reports.estimate import Estimate

_MAX_FILES = 4  # that the sample is taken from, evenly over the job
_SECONDS = 2.0  # of the measured stream, about
_MIN_BATCHES = 4  # of the operator, in the measured stream: the first and the last overlap with nothing
_BATCH_ROWS = 8
_READ_SECONDS = 0.5  # in which reading is measured, about


def estimate(
    plans: Sequence[FilePlan], operator: TableOperator, columns: str | Sequence[str], sample_rows: int
) -> Estimate | None:
    """Compute a small sample of the files to do, as the job would; None if there are no rows to do.

    The sample goes through the operator's own stream twice. The first pass loads the operator, and its rows are fetched
    for the first time, as in the job. The second one is longer and measures the rates.

    Args:
        plans: The files to do.
        operator: The operator.
        columns: Which source columns pass through; see ``enrich_dataset``.
        sample_rows: Maximum rows of the sample.

    Raises:
        DatasetError: A source cannot be read.
        ModelError: A model cannot be used.
    """
    filled = [plan for plan in plans if plan.rows]
    if not filled:
        return None
    operator = _without_side_effects(operator)
    chosen = filled[:: -(-len(filled) // _MAX_FILES)]
    sample, reading = _read_sample(chosen, operator.inputs, -(-sample_rows // len(chosen)))
    first = _stream(operator, sample)
    run = operator.new_run()
    session = operator.start(run)
    repeats = max(_MIN_BATCHES * session.batch_size / first.rows, _SECONDS / first.seconds)
    second = _stream(operator, sample * max(1, round(repeats)))
    fetching = first.stage("fetch") / first.rows  # of rows that no cache has seen
    preparing = fetching + (second.stage("prepare") - second.stage("fetch")) / second.rows
    computing = second.stage("compute") / second.rows
    rates = {
        "reading": reading.rows / reading.seconds,
        "preparing": run.threads / preparing if preparing else None,
        "computing": 1 / computing if computing else None,
    }
    known = {name: rate for name, rate in rates.items() if rate is not None}
    pace = 1 / (1 / second.pace + reading.seconds / reading.rows)  # reading takes its share of the processors
    pace = min(pace, *known.values())
    rows = sum(plan.rows for plan in filled)
    loading_seconds = first.stage("load")
    working = rows / pace + sum(_commit_bytes(plan, columns, reading) for plan in filled) / reading.bytes_per_second
    return Estimate(
        rows=rows,
        bytes=sum(plan.entry.size for plan in filled),
        sampled=first.rows,
        failed=dict(sorted(first.failed.items())),
        loading_seconds=round(loading_seconds, 3),
        reading_rows_per_second=_rounded(rates["reading"]),
        preparing_rows_per_second=_rounded(rates["preparing"]),
        computing_rows_per_second=_rounded(rates["computing"]),
        rows_per_second=round(pace, 1),
        seconds=round(loading_seconds + working, 3),
        memory_bytes=_peak_memory()
        + operator.resources.memory
        + session.flow(run).max_items * session.item_bytes
        + BATCH_BYTES
        + 2 * GROUP_BYTES,
        limit="loading" if loading_seconds > working else min(known, key=lambda name: known[name]),
    )


@dataclass(frozen=True)
class _Measured:
    """One stream of the sample.

    Attributes:
        rows: Its rows.
        failed: Those that failed, by code.
        seconds: Wall time without loading the operator.
        pace: Rows a second while everything overlaps: without the time until the first rows were finished.
        stages: Seconds by stage.
    """

    rows: int
    failed: Counter[str]
    seconds: float
    pace: float
    stages: dict[str, float]

    def stage(self, name: str) -> float:
        return self.stages.get(name, 0.0)


def _stream(operator: TableOperator, sample: Sequence[pa.RecordBatch]) -> _Measured:
    """Run batches of inputs through the operator, and measure it."""
    meter, failed = Meter(), Counter[str]()
    rows = first_rows = 0
    started = first_at = time.perf_counter()
    for _, columns in operator.run(((None, batch) for batch in sample), meter, read_ahead=True):
        failed += error_counts(pa.chunked_array([columns.column(columns.num_columns - 1)]))
        rows += columns.num_rows
        if rows == columns.num_rows:
            first_at, first_rows = time.perf_counter(), rows
    ended = time.perf_counter()
    stages = dict(meter.take().seconds)
    seconds = max(ended - started - stages.get("load", 0.0), 1e-6)
    later, later_seconds = rows - first_rows, ended - first_at
    pace = later / later_seconds if later_seconds > seconds / 2 else rows / seconds
    return _Measured(rows, failed, seconds, pace, stages)


@dataclass(frozen=True)
class _Reading:
    """Reading of inputs.

    Attributes:
        inputs: Their names.
        rows: Rows that were read.
        bytes: Their stored bytes, by the mean of their files.
        seconds: The time that it took, opening files included.
    """

    inputs: Sequence[str]
    rows: int
    bytes: float
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        return max(1.0, self.bytes) / self.seconds


def _read_sample(plans: Sequence[FilePlan], inputs: Sequence[str], rows: int) -> tuple[list[pa.RecordBatch], _Reading]:
    """The inputs of the first rows of each file, in small batches; reading goes on until its rate is known."""
    started, read, stored = time.perf_counter(), 0, 0.0
    batches: list[pa.RecordBatch] = []
    for number, plan in enumerate(plans, 1):
        left, until = rows, started + _READ_SECONDS * number / len(plans)
        with plan.open_source() as file:
            row_bytes = _stored_bytes(file.footer, inputs) / plan.rows
            for batch in file.batches(inputs):
                read, stored = read + batch.num_rows, stored + batch.num_rows * row_bytes
                columns = input_columns(batch, inputs).slice(0, left)
                batches += _cut(columns)
                left -= columns.num_rows
                if left <= 0 and time.perf_counter() > until:
                    break
    seconds = time.perf_counter() - started
    return batches, _Reading(inputs, read, stored, seconds)


def _stored_bytes(footer: Footer, columns: Sequence[str]) -> int:
    leaves = footer.leaves(footer.positions(columns))
    return sum(footer.stored_bytes(group, leaves) for group in range(len(footer.row_groups)))


def _commit_bytes(plan: FilePlan, columns: str | Sequence[str], reading: _Reading) -> float:
    """About how many stored bytes of a file the commit reads once more."""
    schema = plan.schema
    names = {schema.names[position] for position in passthrough_columns(schema, columns)}
    if names.issuperset(schema.names):
        return plan.entry.size
    if not names:
        return 0
    inputs = reading.bytes * plan.rows / reading.rows
    others = max(0.0, plan.entry.size - inputs)
    return others + (inputs if names & set(reading.inputs) else 0)


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, _BATCH_ROWS):
        yield batch.slice(start, _BATCH_ROWS)


def _without_side_effects(operator: TableOperator) -> TableOperator:
    """The operator, such that equal rows are computed each time, and that a failed row does not stop it."""
    has_cache = any(field.name == "cache" for field in dataclasses.fields(operator))
    operator = dataclasses.replace(operator, on_error="null")
    return dataclasses.replace(operator, cache=Cache(0)) if has_cache else operator  # type: ignore[call-arg]  # checked above


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)


def _peak_memory() -> int:
    """The maximum memory of this process so far, in bytes; 0 on Windows, which does not say."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
