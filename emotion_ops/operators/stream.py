"""The stream of an operator: while one batch is computed, later rows are prepared.

    batches ──▶ rows ──▶ [threads: prepare] ──▶ batches of items ──▶ [compute] ──▶ results ──▶ [threads: finish]

The caller's thread starts rows, threads prepare them, and one thread for each concurrent call runs ``compute``, with
the next batch ready. Batches of rows are read by the caller's thread, or one ahead by another thread. ``prepare`` and
``compute`` release Python's lock for most of their time, so all of it overlaps. ``compute`` gets rows in order, so that
equal runs form equal batches. Where it would wait for one slow row, it gets later rows that are ready. Results go to
the places of their rows, and batches come out in order.

A row may have several items. They are computed in batches together with the items of other rows.

Memory is bounded: by the rows that are prepared, ready or computed; by how far rows may run ahead of a slow one, in
number and in bytes; and by the budget for loading images.
"""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import pyarrow as pa

from emotion_ops.errors import OperatorError, RowError
from emotion_ops.operators.contract import append_errors, check_results
from emotion_ops.operators.equal_inputs import EqualInputs
from emotion_ops.operators.flow import MAX_COMPLETE, SLOW_SECONDS
from emotion_ops.operators.in_flight import OpenBatch, RowInFlight
from emotion_ops.operators.result_cache import ResultCache
from emotion_ops.operators.rows import Items, ResultKnown, Row, RowBatch
from emotion_ops.operators.run import Run
from emotion_ops.operators.session import Session
from emotion_ops.operators.source_reader import SourceReader

T = TypeVar("T")


class RowStream(Generic[T]):
    """One stream. Other threads change nothing of it: they put functions into ``_events``, which its own thread calls.

    Args:
        session: The operator's steps.
        run: What the rows share; its meter measures the stages.
        name: The operator's name, for messages.
        schema: The appended fields, the error field last.
        cache: Results of equal inputs; None computes every row.
        on_failure: Called for each failed row, in order, with its position in the whole source and its error. What it
            raises ends the stream.
        codes: The codes that errors of rows may have; None for any.
    """

    def __init__(
        self,
        session: Session,
        run: Run,
        name: str,
        schema: pa.Schema,
        cache: ResultCache | None = None,
        on_failure: Callable[[int, RowError], None] | None = None,
        codes: frozenset[str] | None = None,
    ) -> None:
        self._session, self._run, self._meter = session, run, run.meter
        self._name, self._schema, self._on_failure, self._codes = name, schema, on_failure, codes
        self._flow = flow = session.flow(run)
        self._equal = None if cache is None else EqualInputs[T](cache)
        self._preparers = ThreadPoolExecutor(flow.threads, thread_name_prefix="emotion-ops-prepare")
        self._computers = ThreadPoolExecutor(flow.concurrency, thread_name_prefix="emotion-ops-compute")
        self._finishers = ThreadPoolExecutor(flow.threads, thread_name_prefix="emotion-ops-finish")
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()  # what threads have done, as calls of methods
        self._preparing = 0  # rows
        self._computing = 0  # batches of items
        self._computing_items = 0
        self._finishing = 0  # batches of rows
        self._complete_batches = 0  # of rows: all results are there, and they have not come out
        self._ready_items = 0  # of rows that are prepared and not queued: an earlier row is not prepared
        self._queue: deque[RowInFlight[T]] = deque()  # rows whose items are to be computed next
        self._queued_items = 0
        self._started: deque[RowInFlight[T]] = deque()  # all rows from the first one on that is not prepared
        self._started_bytes = 0
        self._unreported: deque[RowInFlight[T]] = deque()  # with on_failure: all rows from the first unknown result on
        self._unreported_failures = 0
        self._open: deque[OpenBatch[T]] = deque()
        self._reader: SourceReader[RowBatch[T]] | None = None

    def run(self, source: Iterable[RowBatch[T]], *, read_ahead: bool = False) -> Iterator[tuple[T, pa.RecordBatch]]:
        """Run the rows of a source through the operator, once.

        Args:
            source: Batches of rows; read only as far ahead as the window needs.
            read_ahead: Read the source in a thread, one batch ahead; else in the caller's thread.

        Yields:
            Each batch's item with its appended columns, in the order of the source.

        Raises:
            OperatorError: The operator breaks its contract.
        """
        try:
            yield from self._run_all(source, read_ahead=read_ahead)
        finally:
            self._stop()

    def _run_all(self, source: Iterable[RowBatch[T]], *, read_ahead: bool) -> Iterator[tuple[T, pa.RecordBatch]]:
        reader = self._reader = SourceReader(source, self._meter, self._events if read_ahead else None)
        rows = self._read_rows(reader)
        while not reader.ended or self._open:
            while self._has_room() and not self._has_finished() and (row := next(rows, None)) is not None:
                self._start(row)
                self._handle_events()
            if not self._has_finished():
                if self._is_batch_due(reader.ended):
                    self._send_batch()
                elif self._preparing or self._computing or self._finishing or reader.is_reading:
                    self._wait()
            while self._has_finished():
                batch = self._open.popleft()
                self._complete_batches -= 1
                assert batch.appended is not None
                yield batch.item, batch.appended

    def _has_finished(self) -> bool:
        """Whether the first batch of rows is finished. It is then given out before anything else is done."""
        return bool(self._open) and self._open[0].appended is not None

    def _handle_events(self) -> None:
        """Handle what threads have done, and keep ``compute`` busy, without waiting: reading on may take long."""
        while self._preparing or self._computing or self._finishing:
            try:
                handle = self._events.get_nowait()
            except Empty:
                return
            handle()
            self._advance()
            if self._is_batch_due(ended=False):
                self._send_batch()

    def _stop(self) -> None:
        """Stop all that runs, even if a second Ctrl-C interrupts one of these calls."""
        with contextlib.ExitStack() as last_first:
            if self._reader is not None:
                last_first.callback(self._reader.stop)
            last_first.callback(self._run.stop)
            last_first.callback(self._finishers.shutdown, wait=False, cancel_futures=True)
            last_first.callback(self._computers.shutdown, cancel_futures=True)  # a fork during a call would be unsafe
            last_first.callback(self._preparers.shutdown, wait=False, cancel_futures=True)

    def _read_rows(self, reader: SourceReader[RowBatch[T]]) -> Iterator[RowInFlight[T] | None]:
        """The rows of the source, and None whenever the next batch is still being read."""
        first = 0
        while not reader.ended:
            rows = reader.take()
            if rows is None:
                yield None
                continue
            batch = OpenBatch(rows.item, rows.columns, first, [None] * rows.count, rows.count, rows.count)
            self._open.append(batch)
            first += rows.count
            if not rows.count:
                self._finish(batch)
            for position in range(rows.count):
                yield RowInFlight(batch, position)

    def _has_room(self) -> bool:
        """Whether another row may be started. None is, once a row has failed, until that is reported."""
        if self._has_full_window() or self._unreported_failures:
            return False
        rows, size = len(self._started), self._started_bytes
        if self._equal is not None:
            rows, size = max(rows, self._equal.waiting), size + self._equal.waiting_bytes
        return not rows or (rows < self._flow.max_rows_ahead and size < self._flow.ahead_bytes)

    def _has_full_window(self) -> bool:
        if self._flow.max_parts > 1 and self._preparing >= 2 * self._flow.threads:
            return True
        items = self._preparing + self._ready_items + self._queued_items + self._computing_items
        return items >= self._flow.window

    def _may_compute(self) -> bool:
        """Whether ``compute`` may get another batch.

        Not while the first batch of rows is being finished and more are complete behind it: a killed process loses all
        that is complete and has not come out.
        """
        is_far_ahead = self._complete_batches >= MAX_COMPLETE and not self._open[0].unknown
        return self._computing < self._flow.batches and not is_far_ahead

    def _is_batch_due(self, ended: bool) -> bool:
        """Whether the next batch should be computed: a whole one, or what is left if no row will fill it."""
        if not self._may_compute():
            return False
        if self._queued_items >= self._flow.batch_size:
            return True
        is_last = ended or (not self._computing and not self._has_room())
        return bool(self._queue) and not self._preparing and is_last

    def _wait(self) -> None:
        """Wait for an event. If a row takes long, fill the batch from later ones that are ready."""
        timeout = None
        if self._may_compute() and self._queued_items + self._ready_items >= self._flow.batch_size:
            has_idle_threads = self._has_full_window() and self._preparing < self._flow.threads
            timeout = 0.0 if has_idle_threads else SLOW_SECONDS
        try:
            with self._meter.time("network" if self._computing else "wait" if self._preparing else "read"):
                event = self._events.get(timeout=timeout)
        except Empty:
            self._fill_batch()
        else:
            event()
            self._advance()

    def _fill_batch(self) -> None:
        """Queue rows that are ready, although an earlier one is not."""
        for row in self._started:
            if self._queued_items >= self._flow.batch_size:
                return
            if row.items is not None and not row.is_queued:
                self._enqueue(row)

    def _enqueue(self, row: RowInFlight[T]) -> None:
        assert row.items is not None
        row.is_queued = True
        self._ready_items -= len(row.items)
        self._queued_items += len(row.items)
        self._queue.append(row)

    def _start(self, row: RowInFlight[T]) -> None:
        assert row.batch.columns is not None
        row.nbytes = sum(column.nbytes(row.position) for column in row.batch.columns.values())
        self._started.append(row)
        self._started_bytes += row.nbytes
        if self._on_failure is not None:
            self._unreported.append(row)
        self._prepare(row)

    def _prepare(self, row: RowInFlight[T], *, use_equal: bool = True) -> None:
        assert row.batch.columns is not None
        is_known = functools.partial(self._equal.is_known, row) if self._equal is not None and use_equal else None
        self._preparing += 1
        done = self._preparers.submit(self._run_prepare, Row(row.batch.columns, row.position, self._run, is_known))
        done.add_done_callback(lambda done: self._events.put(lambda: self._take_prepared(row, done)))

    def _run_prepare(self, row: Row) -> Any:
        """What ``prepare`` returns; ``ResultKnown`` if the row has the result of an equal one. Runs in a thread."""
        try:
            with self._meter.time("prepare"):
                return self._session.prepare(row)
        except ResultKnown:
            return ResultKnown
        except RowError as error:
            error.__context__ = error.__cause__ = None
            raise error.with_traceback(None) from None  # its frames would keep the row's data in memory

    def _take_prepared(self, row: RowInFlight[T], done: Future[Any]) -> None:
        self._preparing -= 1
        error = done.exception()
        if isinstance(error, RowError):
            self._fail(row, error)
        elif error is not None:
            error.add_note(f"raised by prepare of the operator {self._name!r}, for row {row.number}")
            raise error
        elif (prepared := done.result()) is not ResultKnown:
            self._set_prepared(row, prepared)
        elif row.known_result is not None:
            self._reuse(row, row.known_result)
        elif self._equal is not None and not self._equal.wait(row):
            self._prepare(row)  # the other row has got its result just now, or has failed

    def _set_prepared(self, row: RowInFlight[T], prepared: Any) -> None:
        row.set_prepared(prepared)
        assert row.items is not None
        if len(row.items) > self._flow.max_parts:
            what = (
                f"prepare gave {len(row.items)} parts for row {row.number}, more than max_parts={self._flow.max_parts}"
            )
            raise OperatorError(self._name, what)
        for one in (row, *row.followers):
            one.is_prepared = True
        self._release_inputs(row)
        if len(row.items):
            self._ready_items += len(row.items)
        else:
            self._complete(row)

    def _send_batch(self) -> None:
        parts: list[tuple[RowInFlight[T], slice]] = []
        room = self._flow.batch_size
        while room and self._queue:
            row = self._queue[0]
            assert row.items is not None
            part = slice(row.sent, min(row.sent + room, len(row.items)))
            parts.append((row, part))
            room -= part.stop - part.start
            row.sent = part.stop
            if row.sent == len(row.items):
                self._queue.popleft()
        count = self._flow.batch_size - room
        self._queued_items -= count
        self._computing += 1
        self._computing_items += count
        done = self._computers.submit(self._run_compute, parts, count)
        done.add_done_callback(lambda done: self._events.put(lambda: self._take_results(parts, count, done)))

    def _run_compute(self, parts: list[tuple[RowInFlight[T], slice]], count: int) -> Items:
        """The results of some items. Runs in a thread."""
        with self._meter.time("compute", 1 / self._flow.concurrency):
            items = [item for row, part in parts if row.items is not None for item in row.items[part]]
            try:
                results = self._session.compute(items)
            except RowError as error:
                what = f"compute raised an error of a row ({error}): give it as the result of the item that it is for"
                raise OperatorError(self._name, what) from error
        return check_results(self._name, results, count)

    def _take_results(self, parts: list[tuple[RowInFlight[T], slice]], count: int, done: Future[Items]) -> None:
        self._computing -= 1
        self._computing_items -= count
        results, first = done.result(), 0
        for row, part in parts:
            last = first + part.stop - part.start
            if row.add_results(part, results[first:last]):
                self._complete(row)
            first = last

    def _complete(self, row: RowInFlight[T]) -> None:
        """Take the whole result of a row, also for the rows of equal input."""
        result = row.take_result()
        if self._equal is not None:
            if not isinstance(result, RowError):
                self._equal.remember(row, result)
            for follower in self._equal.release(row):
                self._reuse(follower, result)
        self._set_result(row, result)

    def _reuse(self, row: RowInFlight[T], result: Any) -> None:
        """Give a row the result of an equal one."""
        row.is_prepared = True
        self._release_inputs(row)
        self._meter.add_cached()
        self._set_result(row, result)

    def _fail(self, row: RowInFlight[T], error: RowError) -> None:
        """Take the error that ``prepare`` raised."""
        row.is_prepared = True
        self._release_inputs(row)
        for follower in self._equal.release(row) if self._equal is not None else ():
            follower.digest = None
            self._prepare(follower, use_equal=False)  # the error may not be due to the input
        self._set_result(row, error)

    def _release_inputs(self, row: RowInFlight[T]) -> None:
        """Count a row that does not need its inputs any more."""
        row.batch.unprepared -= 1
        if not row.batch.unprepared:
            row.batch.columns = None

    def _set_result(self, row: RowInFlight[T], result: Any) -> None:
        if isinstance(result, RowError):
            row.error = result
            self._unreported_failures += self._on_failure is not None
            if self._codes is not None and result.code not in self._codes:
                what = f"row {row.number} failed with the code {result.code!r}, which is not one of its error_codes"
                raise OperatorError(self._name, what)
        row.batch.results[row.position] = result
        row.is_done = True
        row.batch.unknown -= 1
        if not row.batch.unknown:
            self._finish(row.batch)

    def _finish(self, batch: OpenBatch[T]) -> None:
        self._finishing += 1
        self._complete_batches += 1
        done = self._finishers.submit(self._run_finish, batch.results)
        done.add_done_callback(lambda done: self._events.put(lambda: self._take_columns(batch, done)))

    def _run_finish(self, results: list[Any]) -> pa.RecordBatch:
        """The appended columns of some rows. Runs in a thread."""
        return append_errors(self._name, self._session.finish(results), results, self._schema)

    def _take_columns(self, batch: OpenBatch[T], done: Future[pa.RecordBatch]) -> None:
        self._finishing -= 1
        batch.appended = done.result()
        batch.results = []

    def _advance(self) -> None:
        """Go over the rows in order: queue those that are prepared, and report those that failed."""
        while self._started and self._started[0].is_prepared:
            row = self._started.popleft()
            self._started_bytes -= row.nbytes
            if row.items is not None and not row.is_queued:
                self._enqueue(row)
        while self._unreported and self._unreported[0].is_done:
            row = self._unreported.popleft()
            if row.error is not None and self._on_failure is not None:
                self._unreported_failures -= 1
                self._on_failure(row.number, row.error)
