"""How two enriched outputs of the same rows differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Drift:
    """How far numbers are apart: the largest and the mean absolute difference."""

    largest: float
    mean: float


@dataclass(frozen=True)
class RowDrift:
    """One row that is good on both sides.

    Attributes:
        file: Its file's key in A.
        row: Its position in the file, from 0.
        drift: The largest absolute difference of its numbers.
        column: The column of that number, as in ``DiffReport.columns``.
        category_a: Its category in A.
        category_b: Its category in B.
    """

    file: str
    row: int
    drift: float
    column: str
    category_a: str
    category_b: str


@dataclass(frozen=True)
class Unmatched:
    """A file of both sides whose rows cannot be compared, and why; rows are 0 where they are not known."""

    file: str
    rows_a: int
    rows_b: int
    reason: str


@dataclass(frozen=True)
class DiffReport:
    """What differs between two enriched outputs.

    Rows are matched by their file's place and their position in it.

    Attributes:
        a: The first output.
        b: The second output.
        lineage_a: What made A: the lineage of each operator that appended columns.
        lineage_b: The same for B.
        files: Files that were compared.
        files_only_in_a: Keys of files that B lacks.
        files_only_in_b: Keys of files that A lacks.
        unmatched: Files of both that cannot be compared: row counts differ, or one has no appended columns.
        rows: Rows that were compared.
        rows_only_in_a: Rows of A without a counterpart: those of ``files_only_in_a`` and ``unmatched``.
        rows_only_in_b: The same for B.
        good_rows: Rows that are good on both sides.
        good_only_in_a: Rows that are good in A and failed in B.
        good_only_in_b: Rows that are good in B and failed in A.
        errors_a: Failed rows of A by code, of the rows compared.
        errors_b: The same for B.
        columns: The numbers that both sides have, by the operator's names for them.
        columns_only_in_a: Names of numbers that some file of A has and its counterpart lacks.
        columns_only_in_b: The same for B.
        categories: Rows by their category in A, then in B; a row that failed has the category ``failed``.
        changes: Rows whose categories differ.
        drift: Of all numbers of rows that are good on both sides.
        drift_by_column: The same for each of ``columns``.
        largest: The rows with the largest drift, the largest first.
        exceeded: Which limits are exceeded, in words; empty if none is.
    """

    a: str
    b: str
    lineage_a: tuple[Mapping[str, str], ...]
    lineage_b: tuple[Mapping[str, str], ...]
    files: int
    files_only_in_a: tuple[str, ...]
    files_only_in_b: tuple[str, ...]
    unmatched: tuple[Unmatched, ...]
    rows: int
    rows_only_in_a: int
    rows_only_in_b: int
    good_rows: int
    good_only_in_a: int
    good_only_in_b: int
    errors_a: Mapping[str, int]
    errors_b: Mapping[str, int]
    columns: tuple[str, ...]
    columns_only_in_a: tuple[str, ...]
    columns_only_in_b: tuple[str, ...]
    categories: Mapping[str, Mapping[str, int]]
    changes: int
    drift: Drift
    drift_by_column: Mapping[str, Drift]
    largest: tuple[RowDrift, ...]
    exceeded: tuple[str, ...] = ()

    @property
    def change_rate(self) -> float:
        """The part of the rows compared whose categories differ, 0 to 1."""
        return self.changes / self.rows if self.rows else 0.0

    @property
    def coverage(self) -> float:
        """The part of all rows, of A or of B, that were compared, 0 to 1; 1 if there are none."""
        every = self.rows + self.rows_only_in_a + self.rows_only_in_b
        return self.rows / every if every else 1.0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types; a drift without limit is null."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)), parse_constant=lambda name: None)
        return {**plain, "change_rate": self.change_rate, "coverage": self.coverage}
