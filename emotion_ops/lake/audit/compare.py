"""How far the appended columns of enriched files differ, added up over their rows."""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import DatasetError
from emotion_ops.lake.audit.outputs import Output, aligned, read_output
from emotion_ops.lake.parquet import read_footer
from emotion_ops.lake.row_errors import error_counts
from emotion_ops.lake.sources.parquet_files import SourceFile
from emotion_ops.operators import hooks
from emotion_ops.operators.hooks import Differences
from emotion_ops.reports.comparison import Drift, RowDrift, Unmatched

Compare = Callable[[pa.RecordBatch, pa.RecordBatch], Differences]


@dataclass
class DriftSum:
    """Absolute differences of one number."""

    largest: float = 0.0
    total: float = 0.0
    rows: int = 0

    def add(self, differences: NDArray[np.float64]) -> None:
        """Add those of more rows."""
        self.largest = max(self.largest, float(differences.max(initial=0.0)))
        self.total += float(differences.sum())
        self.rows += len(differences)


def total_drift(sums: Iterable[DriftSum]) -> Drift:
    """The drift of several numbers together."""
    sums = list(sums)
    rows = sum(one.rows for one in sums)
    mean = sum(one.total for one in sums) / rows if rows else 0.0
    return Drift(max((one.largest for one in sums), default=0.0), mean)


@dataclass
class Comparison:
    """What was found in the files compared so far; of rows only those of the largest drift stay."""

    max_rows: int
    files: int = 0
    rows: int = 0
    good_rows: int = 0
    good_only: list[int] = field(default_factory=lambda: [0, 0])
    errors: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    lineages: tuple[dict[str, Mapping[str, str]], dict[str, Mapping[str, str]]] = field(
        default_factory=lambda: ({}, {})
    )
    columns_only: tuple[dict[str, None], dict[str, None]] = field(default_factory=lambda: ({}, {}))
    categories: Counter[tuple[str, str]] = field(default_factory=Counter)
    drifts: dict[str, DriftSum] = field(default_factory=dict)
    unmatched: list[Unmatched] = field(default_factory=list)
    _largest: list[tuple[float, int, RowDrift]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def add(self, a: SourceFile, b: SourceFile) -> None:
        """Compare two files.

        Raises:
            DatasetError: One of them cannot be read.
        """
        one, other = (read_output(file.folder, file.entry) for file in (a, b))
        rows_a, rows_b = (output.rows if output else count_rows([file]) for output, file in ((one, a), (other, b)))
        if one is None or other is None or not (one.is_complete and other.is_complete):
            path = a.path if one is None or not one.is_complete else b.path
            self.unmatched.append(Unmatched(a.key, rows_a, rows_b, f"{path} does not have the appended columns"))
            return
        for lineages, output in zip(self.lineages, (one, other), strict=True):
            lineages.setdefault(json.dumps(output.column_lineage, sort_keys=True), output.column_lineage)
        if rows_a != rows_b:
            self.unmatched.append(Unmatched(a.key, rows_a, rows_b, "the row counts differ"))
            return
        self.files += 1
        compare, first = _comparison_of(one, other), 0
        for left, right in aligned(one.appended(), other.appended()):
            self._add_batch(a.key, first, left, right, compare(left, right))
            first += left.num_rows
        if not first:
            left, right = (pa.RecordBatch.from_pylist([], output.appended_schema) for output in (one, other))
            self._add_columns(compare(left, right))
        if first != rows_a:
            what = f"gave {first:,} rows of {rows_a:,}"
            raise DatasetError(a.path, what, "it changed while it was read: run again", retryable=True)
        self.rows += first

    def largest(self) -> tuple[RowDrift, ...]:
        """The rows of the largest drift; of equal ones the first comes first."""
        return tuple(row for _, _, row in sorted(self._largest, key=lambda entry: (-entry[0], -entry[1])))

    def _add_columns(self, found: Differences) -> None:
        for columns, names in zip(self.columns_only, (found.only_in_a, found.only_in_b), strict=True):
            columns.update(dict.fromkeys(names))
        for name in found.drifts:
            self.drifts.setdefault(name, DriftSum())

    def _add_batch(self, file: str, first: int, a: pa.RecordBatch, b: pa.RecordBatch, found: Differences) -> None:
        self._add_columns(found)
        pairs = pa.table({"a": found.category_a, "b": found.category_b}).group_by(["a", "b"])
        for pair in pairs.aggregate([([], "count_all")]).to_pylist():
            self.categories[pair["a"], pair["b"]] += pair["count_all"]
        for errors, batch in zip(self.errors, (a, b), strict=True):
            errors.update(error_counts(pa.chunked_array([batch.column(batch.num_columns - 1)])))
        good_a, good_b = (hooks.is_null(batch.column(batch.num_columns - 1)) for batch in (a, b))
        good = good_a & good_b
        self.good_rows += int(good.sum())
        self.good_only[0] += int((good_a & ~good_b).sum())
        self.good_only[1] += int((good_b & ~good_a).sum())
        if not found.drifts or not good.any():
            return
        names, drifts = list(found.drifts), np.stack([drift[good] for drift in found.drifts.values()])
        for name, differences in zip(names, drifts, strict=True):
            self.drifts[name].add(differences)
        rows, worst = np.flatnonzero(good), drifts.max(axis=0)
        for place in np.argsort(-worst, kind="stable")[: self.max_rows]:
            row, column = int(rows[place]), names[int(drifts[:, place].argmax())]
            categories = found.category_a[row].as_py(), found.category_b[row].as_py()
            self._remember(RowDrift(file, first + row, float(worst[place]), column, *categories))

    def _remember(self, row: RowDrift) -> None:
        if row.drift == 0:
            return
        entry = (row.drift, -next(self._order), row)
        if len(self._largest) < self.max_rows:
            heapq.heappush(self._largest, entry)
        else:
            heapq.heappushpop(self._largest, entry)


def count_rows(files: Iterable[SourceFile]) -> int:
    """Rows of files, by their footers.

    Raises:
        DatasetError: One is not a complete Parquet file.
    """
    return sum(read_footer(file.folder, file.key).rows for file in files)


def _comparison_of(a: Output, b: Output) -> Compare:
    """How two files are compared: as their operator says, or, if they have different ones, like any columns."""
    one, other = a.operator, b.operator
    if one is None or other is None or type(one) is not type(other):
        return hooks.compare_columns
    return one.compare
