"""The stream of an operator: while one batch is computed, later rows are prepared.

    batches ──▶ rows ──▶ [threads: prepare] ──▶ batches of items ──▶ [compute] ──▶ results ──▶ [threads: finish]

The caller's thread starts rows, threads prepare them, and a thread for each concurrent call runs ``compute``, with the
next batch ready. Batches of rows are read by the caller's thread, or one ahead by another. What prepares and computes
releases Python's lock, so all of it overlaps. ``compute`` gets rows in order, so that equal runs form equal batches.
Where it would wait for one slow row, it gets later rows that are ready. Results go to the places of their rows, and
batches come out in order.

A row may be several items, which go to ``compute`` together with those of other rows.

Memory is bounded: by the rows that are prepared, ready or computed; by how far rows may run ahead of a slow one, in
number and in bytes; and by the budget that loading images has.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import pyarrow as pa

from emotion_ops.errors import OperatorError, RowError
from emotion_ops.operators.read_ahead import Reading
from emotion_ops.operators.result_cache import ResultCache
from emotion_ops.operators.rows import Flow, OpenBatch, ResultKnown, Row, RowBatch, RowInFlight
from emotion_ops.operators.run import Run
from emotion_ops.operators.session import Session

T = TypeVar("T")

_MAX_COMPLETE = 2  # batches of rows that are complete, the first of them being finished, while ``compute`` gets more
_PATIENCE = 0.25  # seconds without any row becoming ready, after which a whole batch does not wait for a slow one


class RowStream(Generic[T]):
    """One stream. Threads change nothing of it but ``_events`` and ``_owners``.

    Args:
        session: The operator's steps.
        run: What the rows share; its meter measures what the stages take.
        name: The operator's name, for messages.
        schema: The appended fields, the error field last.
        cache: Results of equal inputs; None computes every row.
        on_failure: Called for each row that fails, in order, with its position in the whole source and its error. What
            it raises ends the stream.
    """

    def __init__(
        self,
        session: Session,
        run: Run,
        name: str,
        schema: pa.Schema,
        cache: ResultCache | None = None,
        on_failure: Callable[[int, RowError], None] | None = None,
    ) -> None:
        self._session, self._run, self._cache, self._meter = session, run, cache, run.meter
        self._name, self._schema, self._on_failure = name, schema, on_failure
        self._flow = flow = Flow(
            session.batch_size, run.threads, run.ahead_bytes, session.concurrency, session.max_parts
        )
        self._pool = ThreadPoolExecutor(flow.threads, thread_name_prefix="emotion-ops-prepare")
        self._computers = ThreadPoolExecutor(flow.concurrency, thread_name_prefix="emotion-ops-compute")
        self._finishers = ThreadPoolExecutor(flow.threads, thread_name_prefix="emotion-ops-finish")
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()  # what threads have done: how to go on
        self._preparing = 0  # rows
        self._computing = 0  # batches
        self._finishing = 0  # batches of rows
        self._complete_batches = 0  # of rows: all results are there, and they have not come out
        self._computing_items = 0
        self._ready_items = 0  # of rows that are ready, behind one that is not
        self._batch: deque[RowInFlight[T]] = deque()
        self._queued_items = 0
        self._unsettled: deque[RowInFlight[T]] = deque()  # every row that was started, from the first unsettled one on
        self._unsettled_bytes = 0
        self._lock = threading.Lock()
        self._owners: dict[bytes, RowInFlight[T]] = {}  # rows that compute the result of an input, by its digest
        self._following = self._following_bytes = 0  # rows that wait for the result of an equal one
        self._open: deque[OpenBatch[T]] = deque()
        self._reading: Reading[RowBatch[T]] | None = None

    def run(self, source: Iterable[RowBatch[T]], *, read_ahead: bool = False) -> Iterator[tuple[T, pa.RecordBatch]]:
        """Run the rows of a source through the operator, once.

        Args:
            source: Batches of rows; read only as far ahead as the window needs.
            read_ahead: Read the source in a thread, one batch ahead; else in the caller's thread.

        Yields:
            Each batch's item with its appended columns, in the order of the source.

        Raises:
            OperatorError: ``compute`` or ``finish`` gave another number of values than it was asked for.
        """
        try:
            yield from self._run_all(source, read_ahead=read_ahead)
        finally:
            self._end()

    def _run_all(self, source: Iterable[RowBatch[T]], *, read_ahead: bool) -> Iterator[tuple[T, pa.RecordBatch]]:
        reading = self._reading = Reading(source, self._meter, self._events if read_ahead else None)
        rows = self._rows(reading)
        while not reading.ended or self._open:
            while self._has_room() and not self._has_finished() and (row := next(rows, None)) is not None:
                self._start(row)
                self._continue_without_waiting()
            if not self._has_finished():
                if self._is_due(reading.ended):
                    self._send_batch()
                elif self._preparing or self._computing or self._finishing or reading.is_coming:
                    self._wait()
            while self._has_finished():
                batch = self._open.popleft()
                self._complete_batches -= 1
                assert batch.finished is not None
                yield batch.item, batch.finished

    def _has_finished(self) -> bool:
        """Whether the first batch of rows is finished, and must go out before anything else comes."""
        return bool(self._open) and self._open[0].finished is not None

    def _continue_without_waiting(self) -> None:
        """Send what is ready to ``compute``: reading on may take long."""
        while self._preparing or self._computing or self._finishing:
            try:
                go_on = self._events.get_nowait()
            except Empty:
                return
            go_on()
            self._settle()
            if self._is_due(ended=False):
                self._send_batch()

    def _end(self) -> None:
        """Stop all that is under way, also where a second Ctrl-C interrupts one of these calls."""
        with contextlib.ExitStack() as last_first:
            if self._reading is not None:
                last_first.callback(self._reading.end)
            last_first.callback(self._run.stop)
            last_first.callback(self._finishers.shutdown, wait=False, cancel_futures=True)
            last_first.callback(self._computers.shutdown, cancel_futures=True)  # a fork must not meet it half way
            last_first.callback(self._pool.shutdown, wait=False, cancel_futures=True)

    def _rows(self, reading: Reading[RowBatch[T]]) -> Iterator[RowInFlight[T] | None]:
        """The rows of the source, and None whenever the next is not there yet."""
        first = 0
        while not reading.ended:
            rows = reading.take()
            if rows is None:
                yield None
                continue
            batch = OpenBatch(rows.item, rows.columns, first, [None] * rows.count, rows.count, rows.count)
            self._open.append(batch)
            first += rows.count
            if not rows.count:
                self._finish(batch)
            for row in range(rows.count):
                yield RowInFlight(batch, row)

    def _has_room(self) -> bool:
        if self._has_full_window():
            return False
        rows, size = max(len(self._unsettled), self._following), self._unsettled_bytes + self._following_bytes
        return not rows or (rows < self._flow.reach and size < self._flow.ahead_bytes)

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
        is_first_finishing = bool(self._open) and not self._open[0].waiting
        is_far_ahead = is_first_finishing and self._complete_batches >= _MAX_COMPLETE
        return self._computing < self._flow.batches and not is_far_ahead

    def _is_due(self, ended: bool) -> bool:
        """Whether the next batch is to be computed: a whole one, or what is left when no row will fill it."""
        if not self._may_compute():
            return False
        if self._queued_items >= self._flow.batch_size:
            return True
        is_last = ended or (not self._computing and not self._has_room())
        return bool(self._batch) and not self._preparing and is_last

    def _wait(self) -> None:
        """Wait for what threads do; or, where a row takes long, fill the batch from those that are ready."""
        patience = None
        if self._may_compute() and self._queued_items + self._ready_items >= self._flow.batch_size:
            has_idle_threads = self._has_full_window() and self._preparing < self._flow.threads
            patience = 0.0 if has_idle_threads else _PATIENCE
        try:
            with self._meter.time("network" if self._computing else "wait" if self._preparing else "read"):
                go_on = self._events.get(timeout=patience)
        except Empty:
            self._overtake()
        else:
            go_on()
            self._settle()

    def _overtake(self) -> None:
        for row in self._unsettled:
            if self._queued_items >= self._flow.batch_size:
                return
            if row.items is not None and not row.queued:
                self._queue(row)

    def _queue(self, row: RowInFlight[T]) -> None:
        assert row.items is not None
        row.queued = True
        self._ready_items -= len(row.items)
        self._queued_items += len(row.items)
        self._batch.append(row)

    def _start(self, row: RowInFlight[T]) -> None:
        assert row.batch.columns is not None
        row.nbytes = sum(column.nbytes(row.row) for column in row.batch.columns.values())
        self._unsettled.append(row)
        self._unsettled_bytes += row.nbytes
        self._prepare(row, known=self._is_known if self._cache is not None else None)

    def _prepare(self, row: RowInFlight[T], known: Callable[[RowInFlight[T], bytes], bool] | None) -> None:
        assert row.batch.columns is not None
        is_known = None if known is None else lambda digest: known(row, digest)
        view = Row(row.batch.columns, row.row, self._run, is_known)
        self._preparing += 1
        done = self._pool.submit(self._prepared, view)
        done.add_done_callback(lambda done: self._events.put(lambda: self._take(row, done)))

    def _prepared(self, row: Row) -> Any:
        """What a row is prepared to; ``ResultKnown`` where that is not needed. Runs in a thread."""
        try:
            with self._meter.time("prepare"):
                return self._session.prepare(row)
        except ResultKnown:
            return ResultKnown
        except RowError as error:
            error.__context__ = error.__cause__ = None
            raise error.with_traceback(None) from None  # its frames would keep the row's data in memory

    def _is_known(self, row: RowInFlight[T], digest: bytes) -> bool:
        """Whether the result of an input is known, or another row computes it. Runs in a thread."""
        assert self._cache is not None
        with self._lock:
            row.digest, row.result = digest, self._cache.get(digest)
            return row.result is not None or self._owners.setdefault(digest, row) is not row

    def _take(self, row: RowInFlight[T], done: Future[Any]) -> None:
        self._preparing -= 1
        error = done.exception()
        if isinstance(error, RowError):
            self._fail(row, error)
        elif error is not None:
            raise error
        elif (item := done.result()) is not ResultKnown:
            row.prepared(item)
            assert row.items is not None
            row.settled = True
            for follower in row.followers:
                follower.settled = True
            self._free_inputs(row)
            if len(row.items):
                self._ready_items += len(row.items)
            else:
                self._complete(row)
        elif row.result is not None:
            self._answer(row, row.result)
        else:
            self._follow(row)

    def _follow(self, row: RowInFlight[T]) -> None:
        """Have a row wait for the result of an equal one."""
        assert row.digest is not None
        owner = self._owners.get(row.digest)
        if owner is None:  # its result came just now, or it failed
            self._prepare(row, known=self._is_known)
            return
        owner.followers.append(row)
        row.settled = owner.settled
        self._following += 1
        self._following_bytes += row.nbytes

    def _release(self, owner: RowInFlight[T]) -> list[RowInFlight[T]]:
        """The rows that waited for a row, which no longer do."""
        with self._lock:
            if owner.digest is not None and self._owners.get(owner.digest) is owner:
                del self._owners[owner.digest]
        followers, owner.followers = owner.followers, []
        self._following -= len(followers)
        self._following_bytes -= sum(row.nbytes for row in followers)
        return followers

    def _send_batch(self) -> None:
        parts: list[tuple[RowInFlight[T], slice]] = []
        room = self._flow.batch_size
        while room and self._batch:
            row = self._batch[0]
            assert row.items is not None
            part = slice(row.sent, min(row.sent + room, len(row.items)))
            parts.append((row, part))
            room -= part.stop - part.start
            row.sent = part.stop
            if row.sent == len(row.items):
                self._batch.popleft()
        count = self._flow.batch_size - room
        self._queued_items -= count
        self._computing += 1
        self._computing_items += count
        done = self._computers.submit(self._compute, parts, count)
        done.add_done_callback(lambda done: self._events.put(lambda: self._receive(parts, count, done)))

    def _compute(self, parts: list[tuple[RowInFlight[T], slice]], count: int) -> Sequence[Any]:
        with self._meter.time("compute", 1 / self._flow.concurrency):
            items = [item for row, part in parts if row.items is not None for item in row.items[part]]
            results = self._session.compute(items)
        if len(results) != count:
            raise OperatorError(self._name, f"compute gave {len(results)} results for {count} items")
        return results

    def _receive(self, parts: list[tuple[RowInFlight[T], slice]], count: int, done: Future[Sequence[Any]]) -> None:
        self._computing -= 1
        self._computing_items -= count
        results, first = done.result(), 0
        for row, part in parts:
            last = first + part.stop - part.start
            if row.add(part, results[first:last]):
                self._complete(row)
            first = last

    def _complete(self, row: RowInFlight[T]) -> None:
        """Take the whole result of a row, also for the rows of equal input."""
        result = row.whole_result()
        row.items = row.parts = None
        if self._cache is not None and row.digest is not None:
            self._cache.put(row.digest, result)
        for follower in self._release(row):
            self._answer(follower, result)
        row.batch.results[row.row] = result
        self._count_down(row.batch)

    def _answer(self, row: RowInFlight[T], result: Any) -> None:
        """Give a row the result of an equal one."""
        row.batch.results[row.row] = result
        row.settled = True
        self._free_inputs(row)
        self._meter.add_cached()
        self._count_down(row.batch)

    def _fail(self, row: RowInFlight[T], error: RowError) -> None:
        row.batch.results[row.row] = row.error = error
        row.settled = True
        self._free_inputs(row)
        for follower in self._release(row):  # it may have been bad luck, so each is tried on its own
            follower.digest = None
            self._prepare(follower, known=None)
        self._count_down(row.batch)

    def _free_inputs(self, row: RowInFlight[T]) -> None:
        """Count a row that needs its inputs no more."""
        row.batch.unprepared -= 1
        if not row.batch.unprepared:
            row.batch.columns = None

    def _count_down(self, batch: OpenBatch[T]) -> None:
        batch.waiting -= 1
        if not batch.waiting:
            self._finish(batch)

    def _finish(self, batch: OpenBatch[T]) -> None:
        self._finishing += 1
        self._complete_batches += 1
        done = self._finishers.submit(self._session.build_columns, batch.results, self._schema, self._name)
        done.add_done_callback(lambda done: self._events.put(lambda: self._close(batch, done)))

    def _close(self, batch: OpenBatch[T], done: Future[pa.RecordBatch]) -> None:
        self._finishing -= 1
        batch.finished = done.result()
        batch.results = []

    def _settle(self) -> None:
        """Go over the rows that are prepared, in order: queue them, and report those that failed."""
        while self._unsettled and self._unsettled[0].settled:
            row = self._unsettled.popleft()
            self._unsettled_bytes -= row.nbytes
            if row.items is not None and not row.queued:
                self._queue(row)
            if row.error is not None and self._on_failure is not None:
                self._on_failure(row.batch.first + row.row, row.error)
