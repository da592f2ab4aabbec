"""Compare two enriched outputs of the same rows: labels that flipped, probabilities that drifted, rows lost."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from emotion_ops.errors import OptionError
from emotion_ops.lake.audit.drift import Comparison, Drift, RowDrift, Unmatched, drift_of, rows_of
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources
from emotion_ops.lake.targets.folder import Folder


@dataclass(frozen=True)
class DiffReport:
    """What differs between two enriched outputs.

    Rows are matched by their file's place and their position in it.

    Attributes:
        a: The first output.
        b: The second.
        models_a: What made A: each model, revision and version of this package, as its label field has it.
        models_b: Likewise.
        files: Files that were compared.
        only_in_a: Keys of files that B lacks.
        only_in_b: Keys of files that A lacks.
        unmatched: Files of both that cannot be compared: row counts differ, or one has no emotion columns.
        rows: Rows that were compared.
        rows_only_in_a: Rows of A without a counterpart: those of ``only_in_a`` and ``unmatched``.
        rows_only_in_b: Likewise.
        answered: Rows compared that both sides answered.
        answered_only_in_a: Rows that A answered and B did not.
        answered_only_in_b: The other way round.
        errors_a: Failed rows of A by code, of the rows compared.
        errors_b: Likewise.
        labels: Labels that both sides have, whose probabilities were compared.
        labels_only_in_a: Labels that some file of A has and its counterpart lacks.
        labels_only_in_b: Likewise.
        matrix: Rows by label of A, then label of B; a row that failed has the label ``no answer``.
        flips: Rows whose labels differ, ``no answer`` being a label too.
        drift: Of all probabilities of rows that both answered. A probability that is null or no number on one
            side alone has drifted by 1.
        drift_by_label: The same for each label.
        largest: The rows with the largest drift, largest first.
        exceeded: What was over a limit, in words; empty where the gate is passed.
    """

    a: str
    b: str
    models_a: tuple[Mapping[str, str], ...]
    models_b: tuple[Mapping[str, str], ...]
    files: int
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    unmatched: tuple[Unmatched, ...]
    rows: int
    rows_only_in_a: int
    rows_only_in_b: int
    answered: int
    answered_only_in_a: int
    answered_only_in_b: int
    errors_a: Mapping[str, int]
    errors_b: Mapping[str, int]
    labels: tuple[str, ...]
    labels_only_in_a: tuple[str, ...]
    labels_only_in_b: tuple[str, ...]
    matrix: Mapping[str, Mapping[str, int]]
    flips: int
    drift: Drift
    drift_by_label: Mapping[str, Drift]
    largest: tuple[RowDrift, ...]
    exceeded: tuple[str, ...] = ()

    @property
    def flip_rate(self) -> float:
        """The part of the rows compared whose label differs."""
        return self.flips / self.rows if self.rows else 0.0

    @property
    def coverage(self) -> float:
        """The part of all rows, of A or of B, that were compared; 1 where there are none."""
        every = self.rows + self.rows_only_in_a + self.rows_only_in_b
        return self.rows / every if every else 1.0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {**plain, "flip_rate": self.flip_rate, "coverage": self.coverage}


@dataclass(frozen=True)
class _Limits:
    max_flips: int | None
    max_flip_rate: float | None
    max_drift: float | None
    max_mean_drift: float | None
    min_coverage: float | None

    def check(self) -> None:
        for name, value in asdict(self).items():
            whole = name == "max_flips"
            if value is not None and not (value >= 0 if whole else 0 <= value <= 1):
                raise OptionError(name, value, "give a number of rows" if whole else "give a number from 0 to 1")

    def exceeded(self, report: DiffReport) -> tuple[str, ...]:
        if self == _Limits(None, None, None, None, None):
            return ()
        if not report.rows and report.coverage < 1:  # a gate that nothing went through is not passed
            return ("no row of A has a counterpart in B: nothing was compared",)
        of_drift = self.max_drift is not None or self.max_mean_drift is not None
        one_side = report.answered_only_in_a + report.answered_only_in_b
        if of_drift and not (report.answered and report.labels) and report.answered + one_side:
            return ("no probability of A has a counterpart in B: no drift was measured",)
        over = [
            (report.flips, self.max_flips, f"{report.flips:,} labels flipped"),
            (report.flip_rate, self.max_flip_rate, f"{report.flip_rate:.6g} of the labels flipped"),
            (report.drift.largest, self.max_drift, f"a probability drifted by {report.drift.largest:.6g}"),
            (report.drift.mean, self.max_mean_drift, f"probabilities drifted by {report.drift.mean:.6g} in the mean"),
        ]
        said = [f"{what}, more than {limit:g}" for value, limit, what in over if limit is not None and value > limit]
        if self.min_coverage is not None and report.coverage < self.min_coverage:
            said.append(f"{report.coverage:.6g} of the rows were compared, less than {self.min_coverage:g}")
        return tuple(said)


def diff_datasets(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    rows: int = 10,
    max_flips: int | None = None,
    max_flip_rate: float | None = None,
    max_drift: float | None = None,
    max_mean_drift: float | None = None,
    min_coverage: float | None = None,
) -> DiffReport:
    """Compare two enriched outputs, of two models or revisions or devices, row by row.

    Files are matched by their place below A and B (two single files whatever their names), rows by their
    position. Only the emotion columns are read, in batches. The prefixes may differ; of the label sets what
    both have is compared.

    Args:
        a: An enriched file, folder or glob; a local path or a URI.
        b: Another.
        rows: How many of the rows with the largest drift are told.
        max_flips: The most labels that may flip.
        max_flip_rate: The largest part of the rows compared whose label may flip, 0 to 1.
        max_drift: The furthest that one probability may drift, 0 to 1.
        max_mean_drift: The furthest that probabilities may drift in the mean, 0 to 1.
        min_coverage: The least part of all rows that must have been compared, 0 to 1.

    Returns:
        What differs, and in ``exceeded`` which limits it is over. Under any limit, two outputs without a common
        row are over it too.

    Raises:
        DatasetError: There are no Parquet files at ``a`` or ``b``, or one is broken.
        OptionError: A limit is no number that it can be.
    """
    limits = _Limits(max_flips, max_flip_rate, max_drift, max_mean_drift, min_coverage)
    limits.check()
    if rows < 0:
        raise OptionError("rows", rows, "give a whole number of at least 0")
    left, right = (find_sources(os.fspath(side)) for side in (a, b))
    pairs, only_a, only_b = _pair(left, right)
    found = Comparison(rows)
    for one, other in pairs:
        found.add(one, other)
    unmatched = tuple(found.unmatched)
    report = DiffReport(
        a=str(Folder(os.fspath(a))),
        b=str(Folder(os.fspath(b))),
        models_a=tuple(found.models[0].values()),
        models_b=tuple(found.models[1].values()),
        files=found.files,
        only_in_a=tuple(file.name for file in only_a),
        only_in_b=tuple(file.name for file in only_b),
        unmatched=unmatched,
        rows=found.rows,
        rows_only_in_a=rows_of(only_a) + sum(one.rows_a for one in unmatched),
        rows_only_in_b=rows_of(only_b) + sum(one.rows_b for one in unmatched),
        answered=found.answered,
        answered_only_in_a=found.answered_only[0],
        answered_only_in_b=found.answered_only[1],
        errors_a=dict(sorted(found.errors[0].items())),
        errors_b=dict(sorted(found.errors[1].items())),
        labels=tuple(found.drifts),
        labels_only_in_a=tuple(found.labels_only[0]),
        labels_only_in_b=tuple(found.labels_only[1]),
        matrix=_matrix(found.labels),
        flips=sum(count for (one, other), count in found.labels.items() if one != other),
        drift=drift_of(found.drifts.values()),
        drift_by_label={label: drift_of([drift]) for label, drift in found.drifts.items()},
        largest=found.largest(),
    )
    return replace(report, exceeded=limits.exceeded(report))


def _pair(
    left: Sequence[SourceFile], right: Sequence[SourceFile]
) -> tuple[list[tuple[SourceFile, SourceFile]], list[SourceFile], list[SourceFile]]:
    """Files by their place: in both, in A alone, in B alone."""
    if len(left) == len(right) == 1 and not left[0].swept and not right[0].swept:
        return [(left[0], right[0])], [], []
    others = {file.name: file for file in right}
    mine = {file.name for file in left}
    pairs = [(file, others[file.name]) for file in left if file.name in others]
    return (
        pairs,
        [file for file in left if file.name not in others],
        [file for file in right if file.name not in mine],
    )


def _matrix(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    matrix: dict[str, dict[str, int]] = {}
    for (one, other), count in sorted(counts.items()):
        matrix.setdefault(one, {})[other] = count
    return matrix
