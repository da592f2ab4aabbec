"""What a job did, or would do, as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from emotion_ops.cli.output import counted, duration, made_by, out, two_columns
from emotion_ops.operators.hooks import Measure
from emotion_ops.reports.page import in_bytes, in_digits, in_percent, in_time
from emotion_ops.reports.report import EnrichReport

_MAX_FILES = 40
_MAX_VALUES = 10
_BAR = 24  # characters


def print_report(report: EnrichReport) -> None:
    """Print what a job did."""
    tables = [_facts(report)]
    tables += [_measure(measure, report.good_rows) for measure in report.summary if report.good_rows]
    tables += [_errors(report)] if report.errors else []
    for number, table in enumerate(tables):
        if number:
            out.print()
        out.print(table)
    if report.limit:
        out.print()
        out.print(report.limit, markup=False)


def print_plan(report: EnrichReport) -> None:
    """Print what a job would do."""
    files = Table(title="nothing was written", title_justify="left")
    for name in ("source", "action", "rows", "bytes", "why"):
        files.add_column(name, justify="right" if name in ("rows", "bytes") else "left", overflow="fold")
    for file in report.planned[:_MAX_FILES]:
        files.add_row(file.source, file.action, f"{file.rows:,}", f"{file.bytes:,}", file.reason)
    if (more := len(report.planned) - _MAX_FILES) > 0:
        files.caption, files.caption_justify = f"and {more:,} more, which --json lists", "left"
    out.print(files)
    if report.estimate is not None:
        out.print(_estimate(report))


def _facts(report: EnrichReport) -> Table:
    table = two_columns()
    stages = report.stages
    notes = (
        (report.rows_from_journal, "from the journal"),
        (report.rows_retried, "computed again"),
        (report.rows_cached, "equal to others"),
    )
    rows = ", ".join([f"{report.rows:,}", *(f"{count:,} {what}" for count, what in notes if count)])
    share = f" ({in_percent(report.failed / report.rows)} of the rows)" if report.failed else ""
    for name, value in (
        ("destination", report.destination),
        ("files", f"{report.files:,} written, {report.skipped:,} skipped"),
        ("rows", rows),
        ("failed", f"{report.failed:,}{share}"),
        ("dataset", f"{report.dataset.files:,} files, {report.dataset.rows:,} rows, {report.dataset.failed:,} failed"),
        ("bytes", f"{in_bytes(report.bytes_read)} read, {in_bytes(report.bytes_written)} written"),
        ("rows/s", f"{report.rows_per_second_running:,.1f} running, {report.rows_per_second:,.1f} in total"),
        ("time", f"{in_time(report.seconds)}: planning {in_time(stages.planning)}, "
                 f"loading {in_time(stages.loading)}, running {in_time(stages.running)}"),
        ("running", f"waiting for rows {in_time(stages.waiting)}, computing {in_time(stages.computing)}, "
                    f"reading {in_time(stages.reading)}, writing {in_time(stages.journalling + stages.writing)}"),
        ("made by", made_by(report.lineage)),
        *([("report", report.page)] if report.page else []),
    ):  # fmt: skip
        table.add_row(name, Text(value))
    if report.orphaned:
        what = "removed" if report.pruned else "not removed (--prune removes them)"
        table.add_row("without a source", f"{len(report.orphaned):,} outputs, {what}")
    return table


def _measure(measure: Measure, good_rows: int) -> Table:
    """One measure of an operator's summary: the largest values with bars, or the first if they have an order."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    values: Mapping[str, float] = measure.shown(good_rows)
    ranked = list(values.items()) if measure.ordered else sorted(values.items(), key=lambda item: -item[1])
    has_shares = not measure.per_row and all(0 <= value <= good_rows for value in values.values())
    for name, right in ((measure.title, False), ("", True), *([("share", True)] if has_shares else []), ("", False)):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    largest = max((abs(value) for value in values.values()), default=0) or 1
    for name, value in ranked[:_MAX_VALUES]:
        bar = "█" * round(_BAR * max(0, value) / largest)
        table.add_row(Text(name), in_digits(value), *([in_percent(value / good_rows)] if has_shares else []), bar)
    if (more := len(ranked) - _MAX_VALUES) > 0:
        table.add_row(f"{more:,} more, which --json lists")
    return table


def _errors(report: EnrichReport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("failed", "rows", "for example"):
        table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
    for code, rows in sorted(report.errors.items(), key=lambda item: -item[1]):
        first = next(row for row in report.failed_rows if row.code == code)
        detail = first.error.partition(": ")[2]
        table.add_row(code, f"{rows:,}", Text(f"{first.source}, row {first.row:,}: {detail}"))
    return table


def _estimate(report: EnrichReport) -> Table:
    estimate = report.estimate
    assert estimate is not None
    table = two_columns()
    rates = {
        "reading": estimate.reading_rows_per_second,
        "preparing": estimate.preparing_rows_per_second,
        "computing": estimate.computing_rows_per_second,
    }
    for name, value in (
        ("to do", f"{estimate.rows:,} rows, {in_bytes(estimate.bytes)}"),
        ("sample", f"{estimate.sampled:,} rows, failed: {counted(estimate.failed)} ({estimate.error_rate:.1%})"),
        ("loading", in_time(estimate.loading_seconds)),
        *((name, f"{rate:,.0f} rows/s") for name, rate in rates.items() if rate is not None),
        ("limit", f"{estimate.limit}; all together {estimate.rows_per_second:,.0f} rows/s"),
        ("time", f"about {duration(estimate.seconds)}"),
        ("memory", f"at most about {in_bytes(estimate.memory_bytes)}"),
    ):
        table.add_row(name, value)
    return table
