"""What the appended columns say, counted so that row groups add up: rows, errors, and the operator's summary."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.hooks import Measure

SAMPLES = 5
"""Failed rows of each code that are listed."""


@dataclass(frozen=True)
class FailedRow:
    """A row that failed.

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
    """What was counted in some rows; picklable, so that the process that computes them can count.

    Attributes:
        rows: How many rows.
        errors: Failed rows by code.
        failed_rows: Of each code the first ``SAMPLES`` rows.
        measures: The operator's summary, by name.
    """

    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    failed_rows: list[FailedRow] = field(default_factory=list)
    measures: dict[str, Measure] = field(default_factory=dict)

    @classmethod
    def from_columns(
        cls, columns: pa.Table, operator: TableOperator, source: str, row_group: int, first_row: int
    ) -> Findings:
        """Count the rows of one row group.

        Args:
            columns: The appended columns, the error column last.
            operator: What appended them.
            source: The source file, for failed rows.
            row_group: The row group's number in it.
            first_row: The row group's first row in it.
        """
        found = cls()
        for batch in columns.to_batches():
            errors = batch.column(batch.num_columns - 1)
            for row in pc.indices_nonzero(pc.is_valid(errors)).to_pylist():
                found._add_failed(FailedRow(source, row_group, first_row + found.rows + row, errors[row].as_py()))
            found._add_measures(operator.summary(batch))
            found.rows += batch.num_rows
        return found

    @classmethod
    def total(cls, parts: Iterable[Findings]) -> Findings:
        """What was counted in all of several parts."""
        total = cls()
        for part in parts:
            total.add(part)
        return total

    def add(self, other: Findings) -> None:
        """Add what was counted in other rows."""
        self.rows += other.rows
        listed = Counter(row.code for row in self.failed_rows)
        for row in other.failed_rows:
            if listed[row.code] < SAMPLES:
                self.failed_rows.append(row)
                listed[row.code] += 1
        self.errors.update(other.errors)
        self._add_measures(other.measures.values())

    @property
    def good_rows(self) -> int:
        """Rows that did not fail."""
        return self.rows - self.errors.total()

    def to_json(self) -> str:
        """The numbers as one line of JSON; the failed rows are left out."""
        measures = [dataclasses.asdict(measure) for measure in self.measures.values()]
        return json.dumps({"rows": self.rows, "errors": dict(sorted(self.errors.items())), "measures": measures})

    @classmethod
    def from_json(cls, text: str | bytes) -> Findings:
        """Read back what ``to_json`` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            stored = json.loads(text)
            measures = [Measure(**measure) for measure in stored["measures"]]
            return cls(
                stored["rows"], Counter(stored["errors"]), measures={measure.name: measure for measure in measures}
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the numbers of findings: {error}") from error

    def _add_failed(self, row: FailedRow) -> None:
        if self.errors[row.code] < SAMPLES:
            self.failed_rows.append(row)
        self.errors[row.code] += 1

    def _add_measures(self, measures: Iterable[Measure]) -> None:
        for measure in measures:
            known = self.measures.get(measure.name)
            self.measures[measure.name] = measure if known is None else known + measure
