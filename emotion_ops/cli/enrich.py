"""``emotion-ops enrich``."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from emotion_ops.cli.output import duration, out, print_json, progress_of_rows, two_columns
from emotion_ops.lake.enrich import enrich_dataset
from emotion_ops.lake.report import EnrichReport
from emotion_ops.operators.classify import ClassifyEmotions

_FILES_SHOWN = 40


def enrich(
    sources: list[str], destination: str, options: dict[str, Any], job: dict[str, Any], *, as_json: bool
) -> None:
    """Enrich and say what was done.

    Args:
        sources: Files, folders or globs.
        destination: A folder, or a file for one file.
        options: Those of ``ClassifyEmotions``.
        job: Those of ``enrich_dataset``.
        as_json: The report as JSON instead of a table.
    """
    operator = ClassifyEmotions(**options)
    with progress_of_rows("enriching") as show:
        report = enrich_dataset(
            sources, destination, operator, **job, on_progress=lambda p: show(p.rows_done, p.rows_total, p.errors)
        )
    if as_json:
        print_json({**report.to_dict(), "images_per_second": _rate(report)})
    else:
        for table in _plan_tables(report) if report.dry_run else [_summary(report)]:
            out.print(table)


def _rate(report: EnrichReport) -> float:
    """Rows that this run computed itself, a second, from start to end."""
    return round((report.rows - report.rows_from_journal) / report.seconds, 1) if report.seconds else 0.0


def _summary(report: EnrichReport) -> Table:
    table = two_columns()
    errors = ", ".join(f"{code} {count:,}" for code, count in report.errors.items()) or "none"
    notes = ((report.rows_from_journal, "from the journal"), (report.rows_retried, "of them tried again"))
    rows = ", ".join([f"{report.rows:,}", *(f"{count:,} {what}" for count, what in notes if count)])
    files = f"{report.files:,} written, {report.skipped:,} skipped"
    for name, value in (
        ("destination", report.destination),
        ("files", files),
        ("rows", rows),
        ("with probabilities", f"{report.images:,}"),
        ("failed", errors),
        ("time", f"{report.seconds:.1f} s, {_rate(report):,.1f} images/s, the model's loading included"),
        ("model", report.model),
        ("revision", report.revision),
    ):
        table.add_row(name, value)
    if report.vanished:
        what = "removed" if report.pruned else "kept (--prune removes them)"
        table.add_row("without a source", f"{len(report.vanished):,} outputs, {what}")
    return table


def _plan_tables(report: EnrichReport) -> list[Table]:
    files = Table(title="nothing was written", title_justify="left")
    for name in ("source", "action", "rows", "bytes", "why"):
        files.add_column(name, justify="right" if name in ("rows", "bytes") else "left", overflow="fold")
    for file in report.planned[:_FILES_SHOWN]:
        files.add_row(file.source, file.action, f"{file.rows:,}", f"{file.bytes:,}", file.reason)
    tables = [files]
    if (more := len(report.planned) - _FILES_SHOWN) > 0:
        files.caption, files.caption_justify = f"and {more:,} more; --json lists all", "left"
    if (guess := report.estimate) is not None:
        failed = ", ".join(f"{code} {count:,}" for code, count in guess.failed.items()) or "none"
        grid = two_columns()
        for name, value in (
            ("to do", f"{guess.rows:,} rows, {guess.bytes / 1e6:,.1f} MB"),
            ("sample", f"{guess.sampled:,} rows, failed: {failed} ({guess.error_rate:.1%})"),
            ("storage", f"{guess.storage_rows_per_second:,.0f} rows/s"),
            ("decode", f"{guess.decode_rows_per_second:,.0f} rows/s"),
            ("network", f"{guess.network_rows_per_second:,.0f} rows/s"),
            ("limit", f"the {guess.limit}; all together {guess.rows_per_second:,.0f} rows/s"),
            ("time", f"about {duration(guess.seconds)}"),
            ("memory", f"at the most about {guess.memory_bytes / 1e9:,.1f} GB"),
        ):
            grid.add_row(name, value)
        tables.append(grid)
    return tables
