"""``emotion-ops enrich``."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from emotion_ops.cli.output import out, print_json, progress_of_rows, two_columns
from emotion_ops.lake.enrich import enrich_dataset
from emotion_ops.lake.report import EnrichReport
from emotion_ops.operators.classify import ClassifyEmotions


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
        out.print(_plan_table(report) if report.dry_run else _summary(report))


def _rate(report: EnrichReport) -> float:
    """Rows that this run computed itself, a second, from start to end."""
    return round((report.rows - report.rows_from_journal) / report.seconds, 1) if report.seconds else 0.0


def _summary(report: EnrichReport) -> Table:
    table = two_columns()
    errors = ", ".join(f"{code} {count:,}" for code, count in report.errors.items()) or "none"
    rows = f"{report.rows:,}" + (
        f" ({report.rows_from_journal:,} from the journal)" if report.rows_from_journal else ""
    )
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


def _plan_table(report: EnrichReport) -> Table:
    table = Table(title="nothing was written", title_justify="left")
    for name in ("source", "action", "rows", "bytes", "why"):
        table.add_column(name, justify="right" if name in ("rows", "bytes") else "left", overflow="fold")
    for file in report.planned:
        table.add_row(file.source, file.action, f"{file.rows:,}", f"{file.bytes:,}", file.reason)
    return table
