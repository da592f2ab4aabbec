"""Rows on their way through an operator: what it is given, and what the stream keeps of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import OperatorError, RowError
from emotion_ops.images.cells import Cell, CellGetter, cell_of, cells_of, size_of
from emotion_ops.images.decoder import Transform
from emotion_ops.images.loader import ImageLoader
from emotion_ops.operators.run import Run

T = TypeVar("T")


class ArrowColumn:
    """An input column of a record batch."""

    def __init__(self, name: str, array: pa.Array) -> None:
        self._name, self._array = name, array
        self._cells: CellGetter | None = None
        self._mean: int | None = None

    def value(self, row: int) -> Any:
        """The value of a row as a Python object; None where it is null."""
        return self._array[row].as_py()

    def cell(self, row: int) -> Cell:
        """The image cell of a row; see ``emotion_ops.images.cells``."""
        if self._cells is None:
            self._cells = cells_of(self._array, self._name)
        return self._cells(row)

    def nbytes(self, row: int) -> int:
        """Bytes that the row keeps in memory: the mean of the batch, since a batch is kept whole."""
        if self._mean is None:
            self._mean = _count_bytes(self._array) // max(1, len(self._array))
        return self._mean


class ObjectColumn:
    """An input column of Python objects: a pandas object column, or a list.

    Args:
        values: The objects.
        start: The position of the first row.
    """

    def __init__(self, values: Sequence[Any], start: int = 0) -> None:
        self._values, self._start = values, start

    def value(self, row: int) -> Any:
        """The object of a row; None where pandas has a missing value."""
        value = self._values[self._start + row]
        is_missing = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
        return None if is_missing else value

    def cell(self, row: int) -> Cell:
        """The image cell of a row; see ``emotion_ops.images.cells``."""
        return cell_of(self._values[self._start + row])

    def nbytes(self, row: int) -> int:
        """Bytes that the row keeps in memory, as far as is known without asking the object."""
        value = self._values[self._start + row]
        return size_of(value) if isinstance(value, bytes | memoryview | np.ndarray) else 0


InputColumn = ArrowColumn | ObjectColumn


def _count_bytes(array: pa.Array) -> int:
    """Bytes of the values of an array. For a slice of views Arrow itself counts all of their buffers."""
    if pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
        views = np.frombuffer(array.buffers()[1] or b"", np.int32).reshape(-1, 4)
        return int(views[array.offset : array.offset + len(array), 0].sum(dtype=np.int64))
    if pa.types.is_struct(array.type):
        return sum(map(_count_bytes, array.flatten()))
    return int(array.nbytes)


@dataclass(frozen=True)
class RowBatch(Generic[T]):
    """Rows of a source that come and go together.

    Attributes:
        item: What the caller knows them by: a record batch, for example.
        count: How many rows.
        columns: The operator's input columns by name.
    """

    item: T
    count: int
    columns: Mapping[str, InputColumn]

    @classmethod
    def from_arrow(cls, item: T, batch: pa.RecordBatch) -> RowBatch[T]:
        """The rows of a record batch of input columns."""
        columns = {name: ArrowColumn(name, batch.column(place)) for place, name in enumerate(batch.schema.names)}
        return cls(item, batch.num_rows, columns)


def row_batches(
    inputs: pa.Table | Mapping[str, Sequence[Any]], max_rows: int | None = None
) -> Iterator[RowBatch[None]]:
    """The rows of input columns.

    Args:
        inputs: An Arrow table, or Python objects by name, all of one length.
        max_rows: Maximum rows of a batch; None for no limit.
    """
    if isinstance(inputs, pa.Table):
        yield from (RowBatch.from_arrow(None, batch) for batch in inputs.to_batches(max_rows))
        return
    rows = len(next(iter(inputs.values()), ()))
    step = max_rows or max(1, rows)
    for start in range(0, rows, step):
        columns = {name: ObjectColumn(values, start) for name, values in inputs.items()}
        yield RowBatch(None, min(step, rows - start), columns)


class ResultKnown(BaseException):
    """Ends ``prepare`` early: the result of an equal input is known, or is being computed.

    It is no ``Exception``, so that an operator's own handling of errors does not catch it.
    """


class Row(Mapping[str, Any]):
    """One row of an operator's inputs, as ``prepare`` gets it in a loading thread.

    A mapping from the names of the inputs to their values: ``row["prompt"]``. Images are read by ``row.image``.
    """

    def __init__(
        self,
        columns: Mapping[str, InputColumn],
        number: int,
        run: Run,
        is_known: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._columns, self._number, self.run, self.is_known = columns, number, run, is_known

    @classmethod
    def from_values(cls, values: Mapping[str, Any], run: Run) -> Row:
        """A row that is not part of a table."""
        return cls({name: ObjectColumn([value]) for name, value in values.items()}, 0, run)

    def __getitem__(self, name: str) -> Any:
        return self._columns[name].value(self._number)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def cell(self, name: str) -> Cell:
        """The image cell of an input, without reading what a path points to."""
        return self._columns[name].cell(self._number)

    def image(self, name: str, transform: Transform | None = None) -> NDArray[np.uint8]:
        """Fetch and decode the image of an input, within the operator's access, limits and memory.

        Args:
            name: The input.
            transform: Called with the upright RGB image while its memory is reserved; what it returns is returned.
                Without one, all pixels are returned.

        Returns:
            uint8 (height, width, 3), RGB.

        Raises:
            RowError: The cell is null or holds no image, or the image cannot be fetched or decoded.
        """
        return self.load(name, self.run.loader(transform or np.asarray))

    def load(self, name: str, loader: ImageLoader) -> NDArray[np.uint8]:
        """What a loader makes of the image cell of an input; see ``image``.

        Raises:
            RowError: As ``image`` does.
            ResultKnown: The stream has the result of an equal image, and needs no pixels.
        """
        loaded = loader.load_unless(self.cell(name), self.is_known)
        if loaded is None:
            raise ResultKnown
        return loaded


@dataclass(frozen=True)
class Parts:
    """What a row is prepared to where it is several items: the faces of one image, for example.

    Attributes:
        items: The items, one or more; each is computed on its own.
        context: What ``finish`` gets beside their results.
    """

    items: Sequence[Any]
    context: Any = None


@dataclass(frozen=True)
class PartResults:
    """The results of a row that was prepared to ``Parts``.

    Attributes:
        results: One result for each item, in their order.
        context: See ``Parts``.
    """

    results: Sequence[Any]
    context: Any = None


def columns_from_values(results: Sequence[Any], fields: Sequence[pa.Field]) -> list[pa.Array]:
    """Columns of results that are values: a tuple of one for each field, or the value itself where there is one field.

    Args:
        results: For each row its result, or the ``RowError`` that it failed with.
        fields: The fields.

    Raises:
        OperatorError: A result is something else.
    """
    count, rows = len(fields), list[Sequence[Any]]()
    for result in results:
        if isinstance(result, RowError):
            rows.append([None] * count)
        elif count == 1 and not isinstance(result, tuple):
            rows.append([result])
        elif isinstance(result, Sequence | np.ndarray) and not isinstance(result, str) and len(result) == count:
            rows.append(result)
        else:
            what = f"compute gave {result!r:.80}, which is not a tuple of {count} values: define finish"
            raise OperatorError("", what)
    return [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(fields)]


@dataclass(frozen=True)
class Flow:
    """How much a stream does at the same time.

    Attributes:
        batch_size: Items in one call of ``compute``.
        threads: Rows that are prepared at the same time.
        ahead_bytes: Bytes of the rows that are read ahead of the first that is not prepared; one row always may be.
        concurrency: Calls of ``compute`` at the same time.
        max_parts: Maximum items that one row may have.
    """

    batch_size: int
    threads: int
    ahead_bytes: int
    concurrency: int = 1
    max_parts: int = 1

    @property
    def batches(self) -> int:
        """Batches that are handed to ``compute``: those that it works on, and the next."""
        return self.concurrency + 1

    @property
    def window(self) -> int:
        """Rows being prepared and items ready or in ``compute``: one batch more than it has, and work for each thread.

        Where a row may have many items, only so many rows are prepared that each thread has its next one. So at most
        ``max_parts`` items for each of these come on top, and for the rows that are computed in part.
        """
        return (self.batches + 1) * self.batch_size + 2 * self.threads

    @property
    def max_items(self) -> int:
        """Items in memory at most: those of the window, and what rows of many items have on top."""
        return self.window + (2 * self.threads + self.batches) * (self.max_parts - 1)

    @property
    def reach(self) -> int:
        """Rows from the first that is not prepared on, however slow that one is; each takes a few hundred bytes."""
        return 32 * self.window


@dataclass(eq=False, slots=True)
class OpenBatch(Generic[T]):
    """A batch of rows that is not finished.

    Attributes:
        item: See ``RowBatch``.
        columns: See ``RowBatch``; None once every row is prepared, so that the inputs can be freed.
        first: The position of its first row in the whole source.
        results: For each row its result or its error, as they come.
        unprepared: Rows that may still need their inputs.
        waiting: Rows without a result or an error.
        finished: The appended columns.
    """

    item: T
    columns: Mapping[str, InputColumn] | None
    first: int
    results: list[Any]
    unprepared: int
    waiting: int
    finished: pa.RecordBatch | None = None


@dataclass(eq=False, slots=True)
class RowInFlight(Generic[T]):
    """One row on its way.

    Attributes:
        batch: The batch that it came with.
        row: Its position in the batch.
        nbytes: Bytes of its inputs that it keeps in memory.
        items: Its items, once it is prepared.
        parts: What it was prepared to, where that is ``Parts``.
        error: Why it has no result.
        digest: The hash of its input, once it is known.
        result: Its result, where an equal input had one.
        followers: Rows of equal input that wait for its result.
        settled: Whether it has failed, or cannot fail any more.
        queued: Whether its items are queued for ``compute``, or were.
        sent: How many of its items were sent.
        found: The results of its items, as they come.
        missing: How many of its items have no result yet.
    """

    batch: OpenBatch[T]
    row: int
    nbytes: int = 0
    items: Sequence[Any] | None = None
    parts: Parts | None = None
    error: RowError | None = None
    digest: bytes | None = None
    result: Any = None
    followers: list[RowInFlight[T]] = field(default_factory=list)
    settled: bool = False
    queued: bool = False
    sent: int = 0
    found: list[Any] = field(default_factory=list)
    missing: int = 0

    def prepared(self, item: Any) -> None:
        """Take what ``prepare`` returned."""
        self.parts = item if isinstance(item, Parts) else None
        self.items = item.items if isinstance(item, Parts) else [item]
        self.found, self.missing = [None] * len(self.items), len(self.items)

    def add(self, part: slice, results: Sequence[Any]) -> bool:
        """Take the results of some of its items; whether these were the last."""
        self.found[part] = results
        self.missing -= len(results)
        return not self.missing

    def whole_result(self) -> Any:
        """What ``finish`` gets for the row, once all of its items have results."""
        return self.found[0] if self.parts is None else PartResults(self.found, self.parts.context)
