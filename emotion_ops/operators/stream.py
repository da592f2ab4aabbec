"""The overlapped stream: while one batch is in the network, later rows are being fetched and decoded.

    items ──▶ cells ──▶ [threads: fetch, decode, resize] ──▶ micro-batches ──▶ [engine] ──▶ answers, item by item

The caller's thread starts rows, threads load images, and a thread of its own runs the network, with the next batch at
hand. Items are pulled by the caller's thread, or one ahead by another. Pillow and the engines let go of Python's lock
while they compute, so that all overlap. The network takes rows in order, so that equal runs form equal batches; where
it would have to wait for a row that loads slowly, it takes those behind it that are ready. Answers are put in their
rows' places, and items come out in order.

A row is one picture, or one for each face in it, which all go to the network with those of the rows beside it.

Memory is bounded by the rows that are loading, ready or in the network (pictures of the network's size), by how
far rows may run ahead of one that is slow, in number and in encoded bytes, and by the loader's own budget for decoded
originals.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import ModelError, RowError
from emotion_ops.images.cells import size_of
from emotion_ops.images.loader import ImageLoader, Known
from emotion_ops.models.engines.engine import Engine
from emotion_ops.operators.classify.face_loader import Crops, FaceLoader
from emotion_ops.operators.read_ahead import Reading
from emotion_ops.operators.result_cache import Recall
from emotion_ops.operators.rows import Answers, FaceAnswers, Flow, OpenRows, Row, Rows

T = TypeVar("T")

_PATIENCE = 0.25  # seconds without any row becoming ready, after which a whole batch waits for none before it


def answer(
    source: Iterable[Rows[T]],
    engine: Engine,
    loader: ImageLoader | FaceLoader,
    flow: Flow,
    on_failure: Callable[[int, RowError], None] = lambda row, error: None,
    recall: Recall | None = None,
    *,
    read_ahead: bool = False,
) -> Iterator[tuple[T, Answers]]:
    """Run the rows of a source through the network.

    Args:
        source: Rows to answer; pulled only as far ahead as the window needs.
        engine: The network.
        loader: What the threads do with a cell; its meter is told what the stages take. It serves this stream
            alone, and is stopped at its end.
        flow: How much happens at once.
        on_failure: Told of each row that fails, in order, by its position in the whole source and why; what
            it raises ends the stream.
        recall: Gives the answers of images that were met before, and is told of new ones. It serves this stream
            alone, and is closed at its end. None computes every row; rows of many pictures need that.
        read_ahead: Pull the source in a thread of its own, one item ahead, so that the network has work while a
            store is slow to answer; otherwise in the caller's.

    Yields:
        Each item with its answers, in the order of ``source``. A row that fails costs that row only.

    Raises:
        ModelError: The network gave a number that is none (an overflow in fp16, say).
    """
    stream = _Stream[T](engine, loader, flow, on_failure, recall)
    try:
        yield from stream.run(source, read_ahead=read_ahead)
    finally:
        stream.end()


class _Stream(Generic[T]):
    """The state of ``answer``; the threads touch nothing of it but ``_events``."""

    def __init__(
        self,
        engine: Engine,
        loader: ImageLoader | FaceLoader,
        flow: Flow,
        on_failure: Callable[[int, RowError], None],
        recall: Recall | None,
    ) -> None:
        self._engine, self._loader, self._flow = engine, loader, flow
        self._on_failure, self._recall, self._meter = on_failure, recall, loader.meter
        self._pool = ThreadPoolExecutor(flow.threads, thread_name_prefix="emotion-ops-load")
        self._network = ThreadPoolExecutor(flow.at_once, thread_name_prefix="emotion-ops-network")
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()  # what the threads have done: how to go on
        self._loading = 0  # rows
        self._computing = 0  # batches that are with the network
        self._computing_pictures = 0
        self._overtaking = 0  # pictures of rows that are ready, behind one that is not
        self._batch: deque[Row[T]] = deque()
        self._queued = 0  # pictures of the rows in it that are still to go
        self._unsettled: deque[Row[T]] = deque()  # every row that was started, from the first unsettled one on
        self._unsettled_bytes = 0
        self._ready: set[bytes] = set()  # digests of rows that are ready
        self._followers: dict[bytes, list[Row[T]]] = {}  # rows that wait for an equal image's answer, by digest
        self._following = self._following_bytes = 0
        self._open: deque[OpenRows[T]] = deque()
        self._reading: Reading[Rows[T]] | None = None

    def run(self, source: Iterable[Rows[T]], *, read_ahead: bool) -> Iterator[tuple[T, Answers]]:
        """See ``answer``."""
        reading = self._reading = Reading(source, self._meter, self._events if read_ahead else None)
        rows = self._rows(reading)
        while not reading.ended or self._loading or self._batch or self._computing:
            while self._has_room() and not self._has_answered() and (row := next(rows, None)) is not None:
                self._start(row)
                self._hand_over()
            if not self._has_answered():
                if self._is_due(reading.ended):
                    self._predict()
                elif self._loading or self._computing or reading.is_coming:
                    self._wait()
            while self._has_answered():
                answered = self._open.popleft()
                yield answered.item, answered.answers

    def _has_answered(self) -> bool:
        """Whether the first item is answered whole, and is to go before anything else comes."""
        return bool(self._open) and self._open[0].waiting == 0

    def _hand_over(self) -> None:
        """Give the network what is ready, without waiting: reading on may take long."""
        while self._loading or self._computing:
            try:
                go_on = self._events.get_nowait()
            except Empty:
                return
            go_on()
            self._settle()
            if self._is_due(ended=False):
                self._predict()

    def end(self) -> None:
        """Stop what is under way, all of it, also where a second Ctrl-C interrupts one of these."""
        with contextlib.ExitStack() as last_first:
            if self._reading is not None:
                last_first.callback(self._reading.end)
            if self._recall is not None:
                last_first.callback(self._recall.close)
            last_first.callback(self._loader.stop)
            last_first.callback(self._network.shutdown, cancel_futures=True)  # a fork must not meet it half way
            last_first.callback(self._pool.shutdown, wait=False, cancel_futures=True)

    def _rows(self, reading: Reading[Rows[T]]) -> Iterator[Row[T] | None]:
        """The rows of the source, and None whenever the next is not there yet."""
        first, labels = 0, len(self._engine.labels)
        while not reading.ended:
            rows = reading.take()
            if rows is None:
                yield None
                continue
            answers = Answers(np.empty((rows.count, labels), np.float32), [None] * rows.count, [None] * rows.count)
            owner = OpenRows(rows.item, rows.cell, first, answers, rows.count, rows.count)
            self._open.append(owner)
            first += rows.count
            for row in range(rows.count):
                yield Row(owner, row)

    def _has_room(self) -> bool:
        if self._has_full_window():
            return False
        rows, size = max(len(self._unsettled), self._following), self._unsettled_bytes + self._following_bytes
        return not rows or (rows < self._flow.reach_rows and size < self._flow.ahead_bytes)

    def _has_full_window(self) -> bool:
        if self._flow.most_pictures > 1 and self._loading >= 2 * self._flow.threads:
            return True
        pictures = self._loading + self._overtaking + self._queued + self._computing_pictures
        return pictures >= self._flow.ahead_rows

    def _is_due(self, ended: bool) -> bool:
        """Whether the network is to have the next batch: a whole one, or what is left when no row will fill it."""
        if self._computing >= self._flow.batches:
            return False
        if self._queued >= self._flow.batch_size:
            return True
        is_last = ended or (not self._computing and not self._has_room())
        return bool(self._batch) and not self._loading and is_last

    def _wait(self) -> None:
        """Wait for a row or a batch; or, where a row takes long, fill the batch from those that are ready."""
        patience = None
        if self._computing < self._flow.batches and self._queued + self._overtaking >= self._flow.batch_size:
            has_idle_threads = self._has_full_window() and self._loading < self._flow.threads
            patience = 0.0 if has_idle_threads else _PATIENCE
        try:
            with self._meter.time("network" if self._computing else "wait" if self._loading else "read"):
                go_on = self._events.get(timeout=patience)
        except Empty:
            self._overtake()
        else:
            go_on()
            self._settle()

    def _overtake(self) -> None:
        for row in self._unsettled:
            if self._queued >= self._flow.batch_size:
                return
            if row.pixels is not None and not row.queued:
                self._queue(row)

    def _queue(self, row: Row[T]) -> None:
        assert row.pixels is not None
        row.queued = True
        self._overtaking -= len(row.pixels)
        self._queued += len(row.pixels)
        self._batch.append(row)

    def _start(self, row: Row[T]) -> None:
        self._unsettled.append(row)
        self._load(row, self._known(row))
        self._unsettled_bytes += row.size
        self._settle()  # a cell that cannot be read has failed already

    def _load(self, row: Row[T], known: Known | None) -> None:
        assert row.owner.cell is not None
        try:
            cell = row.owner.cell(row.row)
        except RowError as error:
            self._fail(row, error)
            return
        row.size = size_of(cell)
        self._loading += 1
        pixels = self._pool.submit(self._loader.load_unless, cell, known)
        pixels.add_done_callback(lambda done: self._events.put(lambda: self._take(row, done)))

    def _known(self, row: Row[T]) -> Known | None:
        """What a loading thread asks of an encoded image before it decodes it."""
        recall, meter = self._recall, self._meter
        if recall is None and not meter.counts_duplicates:
            return None

        def known(digest: bytes) -> bool:
            if row.digest is None:
                meter.image(digest)
            row.digest = digest
            if recall is None:
                return False
            row.answer, is_claimed = recall.claim(digest)
            return not is_claimed

        return known

    def _take(self, row: Row[T], pixels: Future[NDArray[np.uint8] | Crops | None]) -> None:
        self._loading -= 1
        error = pixels.exception()
        if isinstance(error, RowError):
            self._fail(row, error)
        elif error is not None:
            raise error
        elif (loaded := pixels.result()) is not None:
            row.crops = loaded if isinstance(loaded, Crops) else None
            row.pixels = loaded.pixels if isinstance(loaded, Crops) else loaded[np.newaxis]
            row.settled = True
            self._overtaking += len(row.pixels)
            if self._recall is not None and row.digest is not None:
                self._ready.add(row.digest)
                for follower in self._followers.get(row.digest, ()):
                    follower.settled = True
        elif row.answer is not None:
            self._answer(row, row.answer, recalled=True)
        else:
            self._follow(row)

    def _follow(self, row: Row[T]) -> None:
        """Have a row wait for the answer of an equal one."""
        assert self._recall is not None
        assert row.digest is not None
        if self._recall.is_coming(row.digest):
            self._followers.setdefault(row.digest, []).append(row)
            self._following += 1
            self._following_bytes += row.size
            row.settled = row.digest in self._ready
        else:  # it came, or came to nothing, just now
            self._load(row, self._known(row))

    def _released(self, digest: bytes) -> list[Row[T]]:
        """The rows that waited for an image, which do so no more."""
        rows = self._followers.pop(digest, [])
        self._following -= len(rows)
        self._following_bytes -= sum(row.size for row in rows)
        return rows

    def _predict(self) -> None:
        batch: list[tuple[Row[T], slice]] = []
        room = self._flow.batch_size
        while room and self._batch:
            row = self._batch[0]
            assert row.pixels is not None
            part = slice(row.sent, min(row.sent + room, len(row.pixels)))
            batch.append((row, part))
            room -= part.stop - part.start
            row.sent = part.stop
            if row.sent == len(row.pixels):
                self._batch.popleft()
        pictures = self._flow.batch_size - room
        self._queued -= pictures
        self._computing += 1
        self._computing_pictures += pictures
        computed = self._network.submit(self._compute, batch)
        computed.add_done_callback(lambda done: self._events.put(lambda: self._receive(batch, done)))

    def _compute(self, batch: list[tuple[Row[T], slice]]) -> NDArray[np.float32]:
        with self._meter.time("compute", 1 / self._flow.at_once):
            pictures = np.concatenate([row.pixels[part] for row, part in batch if row.pixels is not None])
            return self._engine.predict(pictures)

    def _receive(self, batch: list[tuple[Row[T], slice]], computed: Future[NDArray[np.float32]]) -> None:
        self._computing -= 1
        probabilities = computed.result()
        self._computing_pictures -= len(probabilities)
        if not np.isfinite(probabilities).all():
            raise ModelError(
                self._engine.checkpoint.model,
                f"its network gave a probability that is no number, in {self._engine.precision} on "
                f"{self._engine.device}",
                'give precision="fp32"'
                if self._engine.precision != "fp32"
                else "its weights are broken or overflow; choose another checkpoint",
            )
        first = 0
        for row, part in batch:
            last = first + part.stop - part.start
            if row.add(part, probabilities[first:last]):
                assert row.found is not None
                if row.crops is not None:
                    row.owner.answers.faces[row.row] = FaceAnswers(row.crops.boxes, row.crops.count, row.found)
                self._answer(row, row.found[0])
                row.pixels = row.crops = row.found = None
            first = last
        if self._recall is not None:  # every row is one picture
            new = {row.digest: found for (row, _), found in zip(batch, probabilities, strict=True) if row.digest}
            self._recall.keep(new)
            self._ready.difference_update(new)
            for digest, found in new.items():
                for row in self._released(digest):
                    self._answer(row, found, recalled=True)

    def _answer(self, row: Row[T], found: NDArray[np.float32], *, recalled: bool = False) -> None:
        row.owner.answers.probabilities[row.row] = found
        row.owner.waiting -= 1
        row.settled = True
        if recalled:
            self._meter.recalled()

    def _fail(self, row: Row[T], error: RowError) -> None:
        row.owner.answers.errors[row.row] = row.error = error
        row.owner.waiting -= 1
        row.settled = True
        if self._recall is not None and row.digest is not None:
            self._recall.drop(row.digest)
            for follower in self._released(row.digest):  # it may have been bad luck, and each is tried itself
                follower.digest = None
                self._load(follower, None)

    def _settle(self) -> None:
        """Go over the rows that are loaded, in order: queue them, and tell of those that failed."""
        while self._unsettled and self._unsettled[0].settled:
            row = self._unsettled.popleft()
            self._unsettled_bytes -= row.size
            row.owner.unsettled -= 1
            if not row.owner.unsettled:
                row.owner.cell = None
            if row.pixels is not None and not row.queued:
                self._queue(row)
            if row.error is not None:
                self._on_failure(row.owner.first + row.row, row.error)
