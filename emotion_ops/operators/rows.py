"""The rows of a source, and one row as ``prepare`` gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import ColumnNotFoundError, OptionError, RowError, RowErrorCode
from emotion_ops.images.cells import CellGetter, cell_getter
from emotion_ops.images.decoder import Transform
from emotion_ops.images.loader import ImageLoader
from emotion_ops.images.objects import Cell, cell_bytes, to_cell
from emotion_ops.operators.run import Run

T = TypeVar("T")

Items: TypeAlias = "Sequence[Any] | NDArray[Any]"
"""Several items or results: a sequence, or an array whose first axis counts them."""


class ArrowColumn:
    """An input column of a record batch."""

    def __init__(self, name: str, array: pa.Array) -> None:
        self._name, self._array = name, array
        self._cells: CellGetter | None = None
        self._mean: int | None = None

    def value(self, row: int) -> Any:
        """The value of a row as a Python object; None if it is null.

        Raises:
            RowError: Python has no such value: a date of the year 100,000, or text that is not UTF-8.
        """
        try:
            return self._array[row].as_py()
        except (ValueError, OverflowError) as error:
            what = f"column {self._name!r} has a value that cannot be read as {self._array.type} ({error})"
            raise RowError(RowErrorCode.UNREADABLE, what) from None

    def cell(self, row: int) -> Cell:
        """The image cell of a row; see ``emotion_ops.images.cells``."""
        if self._cells is None:
            self._cells = cell_getter(self._array, self._name)
        return self._cells(row)

    def nbytes(self, row: int) -> int:
        """Bytes of the row in memory: the mean of its batch, since a batch is freed as a whole."""
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
        """The object of a row; None if it is one of pandas' missing values."""
        value = self._values[self._start + row]
        is_missing = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
        return None if is_missing else value

    def cell(self, row: int) -> Cell:
        """The image cell of a row; see ``emotion_ops.images.cells``."""
        return to_cell(self._values[self._start + row])

    def nbytes(self, row: int) -> int:
        """Bytes of the row in memory if it is encoded or decoded pixels; 0 for other objects."""
        value = self._values[self._start + row]
        return cell_bytes(value) if isinstance(value, bytes | memoryview | np.ndarray) else 0


InputColumn = ArrowColumn | ObjectColumn


def _count_bytes(array: pa.Array) -> int:
    """Bytes of the values of an array. Of a slice of views, Arrow's ``nbytes`` counts the whole buffers."""
    if pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
        views = np.frombuffer(array.buffers()[1] or b"", np.int32).reshape(-1, 4)
        return int(views[array.offset : array.offset + len(array), 0].sum(dtype=np.int64))
    if pa.types.is_struct(array.type):
        return sum(map(_count_bytes, array.flatten()))
    return int(array.nbytes)


@dataclass(frozen=True)
class RowBatch(Generic[T]):
    """Rows of a source that are read and given out together.

    Attributes:
        item: What the caller identifies them by: a record batch, for example. It is given out with their columns.
        count: Number of rows.
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
        inputs: An Arrow table, or sequences of Python objects by name, all of one length.
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


def select_sequences(values: Mapping[str, Sequence[Any]], names: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Some of the sequences, by name.

    Raises:
        ColumnNotFoundError: One is missing.
        OptionError: They have different lengths.
    """
    for name in names:
        if name not in values:
            raise ColumnNotFoundError(name, list(values))
    lengths = {name: len(values[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise OptionError("inputs", lengths, "give sequences of the same length")
    return {name: values[name] for name in names}


class ResultKnown(BaseException):
    """Ends ``prepare`` early: the result of an equal input is known, or another row computes it.

    It is not an ``Exception``, so that an operator's own ``except`` does not catch it.
    """


class Row(Mapping[str, Any]):
    """One row of an operator's inputs, as ``prepare`` gets it.

    A mapping from the names of the inputs to their values as Python objects: ``row["prompt"]``; null is None. Images
    are loaded by ``row.image``.

    Args:
        columns: The inputs by name.
        number: The row's position in them.
        run: What the rows of the stream share.
        is_known: Called with the digest of an encoded image before it is decoded; see ``images.loader.Known``.
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
        """A row that is not part of a table, of Python objects by name."""
        return cls({name: ObjectColumn([value]) for name, value in values.items()}, 0, run)

    def __getitem__(self, name: str) -> Any:
        return self._columns[name].value(self._number)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def cell(self, name: str) -> Cell:
        """The image cell of an input. The file or URL that it may name is not read."""
        return self._columns[name].cell(self._number)

    def image(self, name: str, transform: Transform | None = None) -> NDArray[np.uint8]:
        """Fetch and decode the image of an input, by the operator's access, limits and memory budget.

        Args:
            name: The input.
            transform: Called with the upright RGB image while its memory is reserved; its result is returned. None
                returns all pixels.

        Returns:
            uint8 (height, width, 3), RGB.

        Raises:
            RowError: The cell is null or holds no image, or the image cannot be fetched or decoded.
        """
        return self.load(name, self.run.loader(transform or np.asarray))

    def load(self, name: str, loader: ImageLoader) -> NDArray[np.uint8]:
        """The image of an input, loaded by a loader from ``run.loader``; see ``image``.

        Raises:
            RowError: As ``image`` does.
            ResultKnown: The stream has the result of an equal image and does not need the pixels.
        """
        loaded = loader.load_unless(self.cell(name), self.is_known)
        if loaded is None:
            raise ResultKnown
        return loaded


@dataclass(frozen=True)
class Parts:
    """What ``prepare`` returns for a row of several items: the faces of one image, for example.

    Attributes:
        items: The items, up to ``max_parts``; each has its own result. There may be none.
        context: Given to ``finish`` together with their results.
    """

    items: Items
    context: Any = None


@dataclass(frozen=True)
class PartResults:
    """What ``finish`` gets for a row that was prepared to ``Parts``.

    Attributes:
        results: One result for each item, in their order.
        context: See ``Parts``.
    """

    results: Sequence[Any]
    context: Any = None
