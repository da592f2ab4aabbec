"""The state of rows in a stream, from their source to their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa

from emotion_ops.errors import RowError
from emotion_ops.operators.rows import InputColumn, Items, PartResults, Parts

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class OpenBatch(Generic[T]):
    """A batch of rows that is not finished.

    Attributes:
        item: See ``RowBatch``.
        columns: See ``RowBatch``; None once every row is prepared, so that the inputs can be freed.
        first: The position of its first row in the whole source.
        results: For each row its result or its ``RowError``; None until it is known.
        unprepared: Number of rows that may still need their inputs.
        unknown: Number of rows without a result or an error.
        appended: The appended columns, once they are finished.
    """

    item: T
    columns: Mapping[str, InputColumn] | None
    first: int
    results: list[Any]
    unprepared: int
    unknown: int
    appended: pa.RecordBatch | None = None


@dataclass(eq=False, slots=True)
class RowInFlight(Generic[T]):
    """One row of an open batch.

    Attributes:
        batch: Its batch.
        position: Its position in the batch.
        nbytes: Bytes of its inputs in memory.
        digest: The hash of its input, once it is known.
        known_result: The result of an equal input, where there was one.
        followers: Rows of equal input that wait for this row's result.
        is_prepared: Whether ``prepare`` has ended for it, or for the row that it waits for.
        items: Its items, from ``prepare`` until ``compute`` has ended.
        parts: What it was prepared to, if that is ``Parts``.
        is_queued: Whether its items were put into the queue for ``compute``.
        sent: How many of its items were sent to ``compute``.
        results: The results of its items, as they come.
        missing: How many of its items have no result yet.
        is_done: Whether its result or error is known.
        error: Its error, if it failed.
    """

    batch: OpenBatch[T]
    position: int
    nbytes: int = 0
    digest: bytes | None = None
    known_result: Any = None
    followers: list[RowInFlight[T]] = field(default_factory=list)
    is_prepared: bool = False
    items: Items | None = None
    parts: Parts | None = None
    is_queued: bool = False
    sent: int = 0
    results: Sequence[Any] = ()
    missing: int = 0
    is_done: bool = False
    error: RowError | None = None

    @property
    def number(self) -> int:
        """Its position in the whole source."""
        return self.batch.first + self.position

    def set_prepared(self, prepared: Any) -> None:
        """Take what ``prepare`` returned."""
        self.parts = prepared if isinstance(prepared, Parts) else None
        self.items = prepared.items if isinstance(prepared, Parts) else [prepared]
        self.results, self.missing = [None] * len(self.items), len(self.items)

    def add_results(self, part: slice, results: Items) -> bool:
        """Take the results of some of its items. Returns whether all are there now."""
        self.results[part] = results  # type: ignore[index]  # a list, since it was prepared
        self.missing -= len(results)
        return not self.missing

    def take_result(self) -> Any:
        """The result of the row, once all of its items have one: the first error among them, if there is one."""
        results, parts = self.results, self.parts
        self.items = self.parts = None
        self.results = ()
        if parts is None:
            return results[0]
        return next((one for one in results if isinstance(one, RowError)), None) or PartResults(results, parts.context)
