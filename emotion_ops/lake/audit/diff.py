"""Compare two enriched outputs of the same rows: changed categories, drifted numbers, rows without a counterpart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from emotion_ops.errors import OptionError
from emotion_ops.lake.audit.compare import Comparison, count_rows, total_drift
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.options import whole_number
from emotion_ops.reports.comparison import DiffReport


@dataclass(frozen=True)
class _Limits:
    max_changes: int | None
    max_change_rate: float | None
    max_drift: float | None
    max_mean_drift: float | None
    min_coverage: float | None

    def check(self) -> None:
        for name, value in asdict(self).items():
            is_share = name in ("max_change_rate", "min_coverage")
            if value is not None and not (0 <= value <= 1 if is_share else value >= 0):
                raise OptionError(name, value, f"give a number {'from 0 to 1' if is_share else 'of at least 0'}")

    def exceeded(self, report: DiffReport) -> tuple[str, ...]:
        if self == _Limits(None, None, None, None, None):
            return ()
        if not report.rows and report.coverage < 1:  # nothing was compared: that is not within limits
            return ("no row of A has a counterpart in B: nothing was compared",)
        limits_drift = self.max_drift is not None or self.max_mean_drift is not None
        good_rows = report.good_rows + report.good_only_in_a + report.good_only_in_b
        if limits_drift and not (report.good_rows and report.columns) and good_rows:
            return ("no number of A has a counterpart in B: no drift was measured",)
        over = [
            (report.changes, self.max_changes, f"{report.changes:,} rows changed their category"),
            (report.change_rate, self.max_change_rate, f"{report.change_rate:.6g} of the rows changed their category"),
            (report.drift.largest, self.max_drift, f"a number drifted by {report.drift.largest:.6g}"),
            (report.drift.mean, self.max_mean_drift, f"numbers drifted by {report.drift.mean:.6g} on average"),
        ]
        found = [f"{what}, more than {limit:g}" for value, limit, what in over if limit is not None and value > limit]
        if self.min_coverage is not None and report.coverage < self.min_coverage:
            found.append(f"{report.coverage:.6g} of the rows were compared, less than {self.min_coverage:g}")
        return tuple(found)


def diff_datasets(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    rows: int = 10,
    max_changes: int | None = None,
    max_change_rate: float | None = None,
    max_drift: float | None = None,
    max_mean_drift: float | None = None,
    min_coverage: float | None = None,
) -> DiffReport:
    """Compare two enriched outputs row by row: of two models, revisions or devices, for example.

    Files are matched by their place below A and B (two single files whatever their names are), rows by their position.
    Only the appended columns are read, in batches. The operator says what the category of a row is and which numbers
    are compared: see ``TableOperator.compare``.

    Args:
        a: An enriched file, folder or glob; a local path or a URI.
        b: Another.
        rows: How many of the rows with the largest drift are listed.
        max_changes: Maximum rows whose category may change.
        max_change_rate: Maximum part of the compared rows whose category may change, 0 to 1.
        max_drift: Maximum drift of one number.
        max_mean_drift: Maximum mean drift of the numbers.
        min_coverage: Minimum part of all rows that must have been compared, 0 to 1.

    Returns:
        What differs, and in ``exceeded`` which limits it is over. With any limit, two outputs without a common row are
        over it too.

    Raises:
        DatasetError: There are no Parquet files at ``a`` or ``b``, or one cannot be read.
        OptionError: A limit has a value that cannot be used.
    """
    limits = _Limits(max_changes, max_change_rate, max_drift, max_mean_drift, min_coverage)
    limits.check()
    found = Comparison(whole_number("rows", rows, 0))
    left, right = (find_sources(os.fspath(side)) for side in (a, b))
    pairs, only_a, only_b = _pair(left, right)
    for one, other in pairs:
        found.add(one, other)
    unmatched = tuple(found.unmatched)
    report = DiffReport(
        a=str(Folder(os.fspath(a))),
        b=str(Folder(os.fspath(b))),
        lineage_a=tuple(found.lineages[0].values()),
        lineage_b=tuple(found.lineages[1].values()),
        files=found.files,
        files_only_in_a=tuple(file.name for file in only_a),
        files_only_in_b=tuple(file.name for file in only_b),
        unmatched=unmatched,
        rows=found.rows,
        rows_only_in_a=count_rows(only_a) + sum(one.rows_a for one in unmatched),
        rows_only_in_b=count_rows(only_b) + sum(one.rows_b for one in unmatched),
        good_rows=found.good_rows,
        good_only_in_a=found.good_only[0],
        good_only_in_b=found.good_only[1],
        errors_a=dict(sorted(found.errors[0].items())),
        errors_b=dict(sorted(found.errors[1].items())),
        columns=tuple(found.drifts),
        columns_only_in_a=tuple(found.columns_only[0]),
        columns_only_in_b=tuple(found.columns_only[1]),
        categories=_nested(found.categories),
        changes=sum(count for (one, other), count in found.categories.items() if one != other),
        drift=total_drift(found.drifts.values()),
        drift_by_column={name: total_drift([drift]) for name, drift in found.drifts.items()},
        largest=found.largest(),
    )
    return replace(report, exceeded=limits.exceeded(report))


def _pair(
    left: Sequence[SourceFile], right: Sequence[SourceFile]
) -> tuple[list[tuple[SourceFile, SourceFile]], list[SourceFile], list[SourceFile]]:
    """Files by their place: in both, only in A, only in B."""
    if len(left) == len(right) == 1 and not left[0].listed and not right[0].listed:
        return [(left[0], right[0])], [], []
    by_name = {file.name: file for file in right}
    names = {file.name for file in left}
    pairs = [(file, by_name[file.name]) for file in left if file.name in by_name]
    return (
        pairs,
        [file for file in left if file.name not in by_name],
        [file for file in right if file.name not in names],
    )


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (one, other), count in sorted(counts.items()):
        nested.setdefault(one, {})[other] = count
    return nested
