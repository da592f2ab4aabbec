"""What the answers of row groups say, counted so that it adds up: labels, probabilities, errors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emotion_ops.operators.classify.columns import OutputColumns

BINS = 20
"""Bins of the highest probabilities, each 1 / BINS wide, from 0 to 1."""

SAMPLES = 5
"""Failed rows of each code that are named."""


@dataclass(frozen=True)
class FailedRow:
    """A row without an answer.

    Attributes:
        source: The source file.
        row_group: The row group in it.
        row: The row's position in the file, from 0.
        error: ``code: what happened``.
    """

    source: str
    row_group: int
    row: int
    error: str

    @property
    def code(self) -> str:
        """The stable word before the colon."""
        return self.error.partition(":")[0]


@dataclass
class Findings:
    """The answers of some row groups, counted; picklable, so that whoever answered them can count.

    Attributes:
        labels: Rows by the label of the highest probability; labels that no row has are there with 0.
        totals: The sum of each label's probabilities.
        unsure: Rows with probabilities, none of which reaches ``min_probability``: they have no label.
        winning: Rows by their highest probability, in ``BINS`` bins.
        errors: Rows without an answer, by code.
        failed: Of each code the first ``SAMPLES`` rows.
    """

    labels: Counter[str] = field(default_factory=Counter)
    totals: dict[str, float] = field(default_factory=dict)
    unsure: int = 0
    winning: list[int] = field(default_factory=lambda: [0] * BINS)
    errors: Counter[str] = field(default_factory=Counter)
    failed: list[FailedRow] = field(default_factory=list)

    @classmethod
    def of(cls, answers: pa.Table, columns: OutputColumns, source: str, row_group: int, first_row: int) -> Findings:
        """Count one row group.

        Args:
            answers: The appended columns.
            columns: Their names.
            source: The source file, for failed rows.
            row_group: The row group's number in it.
            first_row: The row group's first row in it.
        """
        names, errors = columns.labels, answers.column(columns.error)
        good = answers.filter(pc.is_null(errors))
        label = good.column(columns.label)
        found = cls(labels=Counter(dict.fromkeys(names, 0)), unsure=label.null_count)
        for one in pc.value_counts(label.drop_null()).to_pylist():
            found.labels[one["values"]] += one["counts"]
        if good.num_rows:
            matrix = np.stack([good.column(name).to_numpy() for name in columns.probabilities], axis=1).astype(
                np.float64
            )
            found.totals = dict(zip(names, matrix.sum(axis=0).tolist(), strict=True))
            found.winning = np.histogram(matrix.max(axis=1), bins=BINS, range=(0.0, 1.0))[0].tolist()
        for row in pc.indices_nonzero(pc.is_valid(errors)).to_pylist():
            found._fail(FailedRow(source, row_group, first_row + row, errors[row].as_py()))
        return found

    def add(self, other: Findings) -> None:
        """Add what another part of the rows says."""
        self.labels.update(other.labels)
        self.unsure += other.unsure
        for label, total in other.totals.items():
            self.totals[label] = self.totals.get(label, 0.0) + total
        self.winning = [ours + theirs for ours, theirs in zip(self.winning, other.winning, strict=True)]
        kept = Counter(row.code for row in self.failed)
        for row in other.failed:
            if kept[row.code] < SAMPLES:
                self.failed.append(row)
                kept[row.code] += 1
        self.errors.update(other.errors)

    def mean_probabilities(self) -> dict[str, float]:
        """Each label's probability, averaged over the rows with probabilities; empty where there are none."""
        images = sum(self.winning)
        return {label: total / images for label, total in self.totals.items()} if images else {}

    def _fail(self, row: FailedRow) -> None:
        if self.errors[row.code] < SAMPLES:
            self.failed.append(row)
        self.errors[row.code] += 1
