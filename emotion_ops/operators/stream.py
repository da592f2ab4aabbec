"""The overlapped stream: while one batch is in the network, later rows are being fetched and decoded.

    items ──▶ cells ──▶ [threads: fetch, decode, resize] ──▶ micro-batches ──▶ engine ──▶ answers, item by item

The caller's thread pulls items, fills the window of rows ahead and runs the network; a thread pool
loads images. Pillow and torch both let go of Python's lock while they compute, so that the two overlap.
Memory is bounded twice: by rows in the window (each a picture of the network's size) and by the bytes of
the encoded images in it; the decoded originals are bounded by the loader's own budget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import ImageError, ModelError
from emotion_ops.images.cells import CellGetter, size_of
from emotion_ops.images.loader import ImageLoader
from emotion_ops.images.meter import Meter
from emotion_ops.models.engine import Engine

T = TypeVar("T")


@dataclass(frozen=True)
class Rows(Generic[T]):
    """Some rows of a table that come and go together.

    Attributes:
        item: What they came as: a record batch, say.
        count: How many rows.
        cell: A row's image, by its position.
    """

    item: T
    count: int
    cell: CellGetter


@dataclass(frozen=True)
class Answers:
    """What the network says of some rows.

    Attributes:
        probabilities: float32 (rows, labels); the rows that failed are undefined.
        errors: For each row None, or why it has no probabilities.
    """

    probabilities: NDArray[np.float32]
    errors: list[ImageError | None]


@dataclass(frozen=True)
class Flow:
    """How much happens at once.

    Attributes:
        batch_size: Rows in one forward pass.
        threads: Images that are loaded at the same time.
        ahead_bytes: Encoded bytes that may wait in the window; one row always may.
    """

    batch_size: int
    threads: int
    ahead_bytes: int

    @property
    def ahead_rows(self) -> int:
        """Rows in the window: the next batch whole while this one is in the network, and work for each thread."""
        return 2 * self.batch_size + 2 * self.threads


@dataclass
class _Open(Generic[T]):
    """Rows of which some are not answered yet."""

    rows: Rows[T]
    first: int
    answers: Answers
    waiting: int


@dataclass(frozen=True)
class _Loading(Generic[T]):
    """One row in the window."""

    owner: _Open[T]
    row: int
    size: int
    pixels: Future[NDArray[np.uint8]]


def answer(
    source: Iterable[Rows[T]],
    engine: Engine,
    loader: ImageLoader,
    flow: Flow,
    on_failure: Callable[[int, ImageError], None] = lambda row, error: None,
) -> Iterator[tuple[T, Answers]]:
    """Run the rows of a source through the network, in order.

    Args:
        source: Rows to answer; pulled from the caller's thread, only as far ahead as the window needs.
        engine: The network.
        loader: What the threads do with a cell; its meter is told what the stages take. It serves this stream
            alone, and is stopped at its end.
        flow: How much happens at once.
        on_failure: Told of each row that fails, in order, by its position in the whole source and why; what
            it raises ends the stream.

    Yields:
        Each item with its answers, in the order of ``source``. A row that fails costs that row only.

    Raises:
        ModelError: The network gave a number that is none (an overflow in fp16, say).
    """
    pool = ThreadPoolExecutor(flow.threads, thread_name_prefix="emotion-ops-load")
    opened: deque[_Open[T]] = deque()
    batch: list[_Loading[T]] = []
    try:
        for loading in _ahead(_start_loading(source, pool, loader, opened, len(engine.labels)), flow):
            with loader.meter.time("wait"):
                error = loading.pixels.exception()
            if error is None:
                batch.append(loading)
            elif isinstance(error, ImageError):
                on_failure(loading.owner.first + loading.row, error)
                loading.owner.answers.errors[loading.row] = error
                loading.owner.waiting -= 1
            else:
                raise error
            if len(batch) == flow.batch_size:
                _predict(engine, batch, loader.meter)
                batch = []
            yield from _finished(opened)
        if batch:
            _predict(engine, batch, loader.meter)
        yield from _finished(opened)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        loader.stop()


def _start_loading(
    source: Iterable[Rows[T]], pool: ThreadPoolExecutor, loader: ImageLoader, opened: deque[_Open[T]], labels: int
) -> Iterator[_Loading[T]]:
    first = 0
    for rows in loader.meter.timed("read", source):
        answers = Answers(np.empty((rows.count, labels), np.float32), [None] * rows.count)
        owner = _Open(rows, first, answers, rows.count)
        opened.append(owner)
        first += rows.count
        for row in range(rows.count):
            try:
                cell = rows.cell(row)
            except ImageError as error:
                unreadable: Future[NDArray[np.uint8]] = Future()
                unreadable.set_exception(error)
                yield _Loading(owner, row, 0, unreadable)
            else:
                yield _Loading(owner, row, size_of(cell), pool.submit(loader.load, cell))


def _ahead(coming: Iterator[_Loading[T]], flow: Flow) -> Iterator[_Loading[T]]:
    """The rows as they come, with as many of the later ones being loaded as the flow allows."""
    window: deque[_Loading[T]] = deque()
    waiting_bytes = 0
    for loading in coming:
        window.append(loading)
        waiting_bytes += loading.size
        while window and (len(window) >= flow.ahead_rows or waiting_bytes >= flow.ahead_bytes):
            first = window.popleft()
            waiting_bytes -= first.size
            yield first
    yield from window


def _predict(engine: Engine, batch: list[_Loading[T]], meter: Meter) -> None:
    with meter.time("network"):
        probabilities = engine.predict(np.stack([loading.pixels.result() for loading in batch]))
    if not np.isfinite(probabilities).all():
        raise ModelError(
            engine.checkpoint.model,
            f"its network gave a probability that is no number, in {engine.precision} on {engine.device}",
            'give precision="fp32"'
            if engine.precision != "fp32"
            else "its weights are broken or overflow; choose another checkpoint",
        )
    for loading, row in zip(batch, probabilities, strict=True):
        loading.owner.answers.probabilities[loading.row] = row
        loading.owner.waiting -= 1


def _finished(opened: deque[_Open[T]]) -> Iterator[tuple[T, Answers]]:
    while opened and opened[0].waiting == 0:
        done = opened.popleft()
        yield done.rows.item, done.answers
