"""How far the answers of two enriched files differ, added up over their rows."""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emotion_ops.errors import DatasetError
from emotion_ops.lake.audit.outputs import Output, aligned, read_footer, read_output
from emotion_ops.lake.runners.local import errors_of
from emotion_ops.lake.sources.parquet_files import SourceFile

NO_ANSWER = "no answer"
"""The label, in the matrix of flips, of a row that failed."""

UNSURE = "unsure"
"""The label, likewise, of a row whose highest probability is below ``min_probability``."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """How far probabilities moved: absolute differences, 0 to 1."""

    largest: float
    mean: float


@dataclass(frozen=True)
class RowDrift:
    """One row that both sides answered.

    Attributes:
        file: Its file's key in A.
        row: Its number in the file, from 0.
        drift: The largest absolute difference among its probabilities.
        label: The label of that probability.
        label_a: What A answered.
        label_b: What B answered.
    """

    file: str
    row: int
    drift: float
    label: str
    label_a: str
    label_b: str


@dataclass(frozen=True)
class Unmatched:
    """A file of both sides whose rows cannot be compared, and why; rows are 0 where they are not known."""

    file: str
    rows_a: int
    rows_b: int
    reason: str


@dataclass
class DriftSum:
    """Absolute differences of one label's probabilities."""

    largest: float = 0.0
    total: float = 0.0
    rows: int = 0

    def add(self, differences: Floats) -> None:
        """Count those of more rows."""
        self.largest = max(self.largest, float(differences.max(initial=0.0)))
        self.total += float(differences.sum())
        self.rows += len(differences)


def drift_of(sums: Iterable[DriftSum]) -> Drift:
    """The drift of all the labels whose sums are given, together."""
    sums = list(sums)
    rows = sum(one.rows for one in sums)
    mean = sum(one.total for one in sums) / rows if rows else 0.0
    return Drift(max((one.largest for one in sums), default=0.0), mean)


@dataclass
class Comparison:
    """What was found in the files compared so far; of rows it keeps those of the largest drift alone."""

    keep: int
    files: int = 0
    rows: int = 0
    answered: int = 0
    answered_only: list[int] = field(default_factory=lambda: [0, 0])
    errors: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    models: tuple[dict[str, Mapping[str, str]], dict[str, Mapping[str, str]]] = field(default_factory=lambda: ({}, {}))
    labels_only: tuple[dict[str, None], dict[str, None]] = field(default_factory=lambda: ({}, {}))
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    drifts: dict[str, DriftSum] = field(default_factory=dict)
    unmatched: list[Unmatched] = field(default_factory=list)
    _largest: list[tuple[float, int, RowDrift]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def add(self, a: SourceFile, b: SourceFile) -> None:
        """Compare two files.

        Raises:
            DatasetError: One of them is broken.
        """
        one, other = (read_output(file.folder, file.entry) for file in (a, b))
        rows_a, rows_b = (output.rows if output else rows_of([file]) for output, file in ((one, a), (other, b)))
        if one is None or other is None:
            side = a if one is None else b
            self.unmatched.append(Unmatched(a.key, rows_a, rows_b, f"{side.path} has no emotion columns"))
            return
        for models, output in zip(self.models, (one, other), strict=True):
            models.setdefault(json.dumps(output.columns.lineage, sort_keys=True), output.columns.lineage)
        if rows_a != rows_b:
            self.unmatched.append(Unmatched(a.key, rows_a, rows_b, "the row counts differ"))
            return
        labels = [label for label in one.columns.labels if label in other.columns.labels]
        for kept, output in zip(self.labels_only, (one, other), strict=True):
            kept.update(dict.fromkeys(label for label in output.columns.labels if label not in labels))
        for label in labels:
            self.drifts.setdefault(label, DriftSum())
        self.files += 1
        first = 0
        for left, right in aligned(one.answers(), other.answers()):
            self._add_batch(a.key, first, labels, (left, one), (right, other))
            first += left.num_rows
        if first != rows_a:
            raise DatasetError(
                a.path, f"gave {first:,} rows of {rows_a:,}", "it changed meanwhile: run again", retryable=True
            )
        self.rows += first

    def largest(self) -> tuple[RowDrift, ...]:
        """The rows of the largest drift, the first of equals first."""
        return tuple(row for _, _, row in sorted(self._largest, key=lambda entry: (-entry[0], -entry[1])))

    def _add_batch(
        self,
        file: str,
        first: int,
        labels: Sequence[str],
        a: tuple[pa.RecordBatch, Output],
        b: tuple[pa.RecordBatch, Output],
    ) -> None:
        here, there = (_answered(batch) for batch, _ in (a, b))
        label_a, label_b = (
            batch.column(0).cast(pa.string()).fill_null(pc.if_else(pa.array(answered), UNSURE, NO_ANSWER))
            for (batch, _), answered in zip((a, b), (here, there), strict=True)
        )
        pairs = pa.table({"a": label_a, "b": label_b}).group_by(["a", "b"]).aggregate([([], "count_all")])
        for one, other, count in zip(
            *(column.to_pylist() for column in pairs.select(["a", "b", "count_all"])), strict=True
        ):
            self.labels[one, other] += count
        for errors, (batch, _) in zip(self.errors, (a, b), strict=True):
            errors.update(errors_of(pa.Table.from_batches([batch])))
        both = here & there
        self.answered += int(both.sum())
        self.answered_only[0] += int((here & ~there).sum())
        self.answered_only[1] += int((there & ~here).sum())
        if not labels or not both.any():
            return
        drifts = np.stack([_drift(a, b, label)[both] for label in labels])
        for label, differences in zip(labels, drifts, strict=True):
            self.drifts[label].add(differences)
        rows = np.flatnonzero(both)
        worst = drifts.max(axis=0)
        for place in np.argsort(-worst, kind="stable")[: self.keep]:
            row, drift = int(rows[place]), float(worst[place])
            label = labels[int(drifts[:, place].argmax())]
            found = RowDrift(file, first + row, drift, label, label_a[row].as_py(), label_b[row].as_py())
            self._remember(found)

    def _remember(self, row: RowDrift) -> None:
        if row.drift == 0:
            return
        entry = (row.drift, -next(self._order), row)
        if len(self._largest) < self.keep:
            heapq.heappush(self._largest, entry)
        else:
            heapq.heappushpop(self._largest, entry)


def _answered(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which rows have an answer: a label, or probabilities that are not high enough for one."""
    label, probability, error = (batch.column(place) for place in (0, 1, batch.num_columns - 1))
    has_one = pc.or_(pc.is_valid(label), pc.and_(pc.is_valid(probability), pc.is_null(error)))
    answered: NDArray[np.bool_] = has_one.to_numpy(zero_copy_only=False)
    return answered


def _drift(a: tuple[pa.RecordBatch, Output], b: tuple[pa.RecordBatch, Output], label: str) -> Floats:
    """Absolute differences of one label's probabilities, row by row."""
    one, other = (_floats(batch.column(output.columns.labels.index(label) + 1)) for batch, output in (a, b))
    lost = np.isfinite(one) != np.isfinite(other)
    with np.errstate(invalid="ignore"):
        differences = np.nan_to_num(np.abs(one - other), nan=0.0, posinf=1.0)
    return np.where(lost, 1.0, differences)


def _floats(column: pa.Array) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)  # null as NaN
    return values


def rows_of(files: Iterable[SourceFile]) -> int:
    """Rows of files, by their footers.

    Raises:
        DatasetError: One is no whole Parquet file.
    """
    return sum(sum(read_footer(file.folder, file.key).rows) for file in files)
