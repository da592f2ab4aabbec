"""``emotion-ops diff``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from emotion_ops.cli.arguments import Json
from emotion_ops.cli.output import ExitCode, counted, made_by, out, print_json, two_columns
from emotion_ops.flags.fields import FlagSet, read_flags
from emotion_ops.flags.values import build_arguments
from emotion_ops.lake.audit.diff import diff_datasets
from emotion_ops.reports.comparison import DiffReport

_LISTED = 10


def flag_sets(operator: str) -> tuple[FlagSet, ...]:
    """The flags of the command."""
    return (read_flags(diff_datasets),)


def diff(
    a: Annotated[str, typer.Argument(help="An enriched file, folder or glob.")],
    b: Annotated[str, typer.Argument(help="Another, of the same rows.")],
    as_json: Json = False,
    **limits: Any,
) -> None:
    """Compare two enriched outputs: rows that changed, numbers that drifted, rows in one only.

    The exit code is 1 if a limit is exceeded.

    emotion-ops diff enriched/ enriched-by-the-new-model/ --max-change-rate 0.01
    """
    report = diff_datasets(a, b, **build_arguments(read_flags(diff_datasets), limits))
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)
        for what in report.exceeded:
            out.print(f"Too much differs: {what}.", style="red", soft_wrap=True)
        if not report.exceeded and set(limits) - {"rows"}:
            out.print("Within the limits.", style="green")
    raise typer.Exit(ExitCode.FOUND_WRONG if report.exceeded else ExitCode.OK)


def _show(report: DiffReport) -> None:
    out.print(_summary(report))
    for table in (_matrix(report), _drift(report), _rows(report)):
        if table is not None:
            out.print()
            out.print(table)
    out.print()


def _summary(report: DiffReport) -> Table:
    table = two_columns()
    both = f"{report.coverage:.2%} of all"
    for name, value in (
        ("A", report.a),
        ("", "; ".join(map(made_by, report.lineage_a))),
        ("B", report.b),
        ("", "; ".join(map(made_by, report.lineage_b))),
        ("files", _sides(report.files, "compared", len(report.files_only_in_a), len(report.files_only_in_b))),
        ("rows", _sides(report.rows, f"compared ({both})", report.rows_only_in_a, report.rows_only_in_b)),
        ("good rows", _sides(report.good_rows, "in both", report.good_only_in_a, report.good_only_in_b)),
        ("failed in A", counted(report.errors_a)),
        ("failed in B", counted(report.errors_b)),
        ("changed", f"{report.changes:,} rows ({report.change_rate:.2%} of the rows compared)"),
        ("drift", f"largest {report.drift.largest:.3g}, mean {report.drift.mean:.3g}"),
    ):
        if value:
            table.add_row(name, value)
    for side, keys in (("A", report.files_only_in_a), ("B", report.files_only_in_b)):
        for key in keys[:_LISTED]:
            table.add_row(f"only in {side}", key)
        if len(keys) > _LISTED:
            table.add_row("", f"and {len(keys) - _LISTED:,} more, which --json lists")
    for one in report.unmatched[:_LISTED]:
        table.add_row("unmatched", f"{one.file}: {one.reason} ({one.rows_a:,} rows in A, {one.rows_b:,} in B)")
    for side, columns in (("A", report.columns_only_in_a), ("B", report.columns_only_in_b)):
        if columns:
            table.add_row(f"numbers only in {side}", f"{', '.join(columns)}; their drift is not measured")
    return table


def _matrix(report: DiffReport) -> Table | None:
    """Categories of A down, of B across; if that is wider than the terminal, the changes one below the other."""
    if not report.changes:
        return None
    columns = sorted({other for row in report.categories.values() for other in row})
    rows = [
        [f"{row.get(other, 0):,}" if row.get(other) else "·" for other in columns] for row in report.categories.values()
    ]
    widths = [max(map(len, cells)) + 2 for cells in zip(columns, *rows, strict=True)]
    if sum(widths) + max(map(len, report.categories)) + 2 <= out.width:
        table = _plain(("A ↓  B →", *columns), numbers=range(1, len(columns) + 1))
        for category, cells in zip(report.categories, rows, strict=True):
            table.add_row(category, *cells)
        return table
    table = _plain(("in A", "in B", "rows"), numbers=[2])
    changes = [(count, a, b) for a, row in report.categories.items() for b, count in row.items() if a != b]
    for count, a, b in sorted(changes, reverse=True):
        table.add_row(a, b, f"{count:,}")
    return table


def _drift(report: DiffReport) -> Table | None:
    if not report.drift.largest:
        return None
    table = _plain(("number", "largest drift", "mean drift"), numbers=(1, 2))
    for name, drift in report.drift_by_column.items():
        table.add_row(name, f"{drift.largest:.3g}", f"{drift.mean:.3g}")
    return table


def _rows(report: DiffReport) -> Table | None:
    if not report.largest:
        return None
    table = _plain(("file", "row", "drift", "of", "in A", "in B"), numbers=(1, 2))
    for row in report.largest:
        table.add_row(row.file, f"{row.row:,}", f"{row.drift:.3g}", row.column, row.category_a, row.category_b)
    return table


def _plain(names: tuple[str, ...], numbers: Any) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place in numbers else "left", overflow="fold")
    return table


def _sides(both: int, what: str, only_a: int, only_b: int) -> str:
    return f"{both:,} {what}, {only_a:,} only in A, {only_b:,} only in B"
