"""``emotion-ops enrich``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from emotion_ops.cli.output import duration, out, print_json, progress_of_rows, two_columns
from emotion_ops.lake.enrich import enrich_dataset
from emotion_ops.lake.manifest import build_manifest
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.hooks import Measure
from emotion_ops.reports.page import in_bytes, in_percent, in_time
from emotion_ops.reports.report import EnrichReport

_FILES_SHOWN = 40
_BARS_SHOWN = 10
_BAR = 24


def enrich(
    sources: list[str], destination: str, given: dict[str, Any], *, as_json: bool, manifest: Path | None
) -> None:
    """Enrich and say what was done.

    Args:
        sources: Files, folders or globs.
        destination: A folder, or a file for one file.
        given: Options of ``ClassifyEmotions`` and of ``enrich_dataset``, by name.
        as_json: The report as JSON instead of a table.
        manifest: Where the manifest goes; None writes none.
    """
    of_operator = {option.name for option in dataclasses.fields(ClassifyEmotions)}
    operator = ClassifyEmotions(**{name: value for name, value in given.items() if name in of_operator})
    job = {name: value for name, value in given.items() if name not in of_operator}
    with progress_of_rows("enriching") as show:
        report = enrich_dataset(
            sources, destination, operator, **job, on_progress=lambda p: show(p.rows_done, p.rows_total, p.errors)
        )
    if manifest is not None:
        told = build_manifest(report, operator, columns=job["columns"], shard=job["shard"])
        manifest.write_text(json.dumps(told, indent=1) + "\n")
    if as_json:
        print_json(report.to_dict())
    elif report.dry_run:
        for table in _plan_tables(report):
            out.print(table)
    else:
        _print_summary(report)


def _print_summary(report: EnrichReport) -> None:
    out.print(_facts(report))
    for measure in report.summary if report.good_rows else ():
        if not measure.per_row and not measure.ordered:
            out.print()
            out.print(_measure(measure, report.good_rows))
    if report.errors:
        out.print()
        out.print(_errors(report))
    if report.limit:
        out.print()
        out.print(report.limit, markup=False)


def _facts(report: EnrichReport) -> Table:
    table = two_columns()
    stages, dataset = report.stages, report.dataset
    notes = (
        (report.rows_from_journal, "from the journal"),
        (report.rows_retried, "retried"),
        (report.rows_cached, "from the cache"),
    )
    rows = ", ".join([f"{report.rows:,}", *(f"{count:,} {what}" for count, what in notes if count)])
    share = f" ({in_percent(report.failed / report.rows)} of the rows)" if report.failed else ""
    total = f"{dataset.rows:,} rows in {dataset.files:,} files, {dataset.failed:,} failed"
    for name, value in (
        ("destination", report.destination),
        ("files", f"{report.files:,} written, {report.skipped:,} skipped"),
        ("rows", rows),
        ("good rows", f"{report.good_rows:,}"),
        ("failed", f"{report.failed:,}{share}"),
        *([("whole dataset", total)] if dataset.rows != report.rows else []),
        ("bytes", f"{in_bytes(report.bytes_read)} read, {in_bytes(report.bytes_written)} written"),
        ("rows/s", f"{report.rows_per_second_running:,.1f} running, {report.rows_per_second:,.1f} in all"),
        ("time", f"{in_time(report.seconds)}: planning {in_time(stages.planning)}, "
                 f"loading {in_time(stages.loading)}, running {in_time(stages.running)}"),
        ("running", f"waiting for rows {in_time(stages.waiting)}, computing {in_time(stages.computing)}, "
                    f"reading {in_time(stages.reading)}, writing {in_time(stages.journalling + stages.writing)}"),
        *((name.replace("_", " "), value) for name, value in report.lineage.items()),
        *([("report", report.page)] if report.page else []),
    ):  # fmt: skip
        table.add_row(name, Text(value))
    if report.orphaned:
        what = "removed" if report.pruned else "not removed (--prune removes them)"
        table.add_row("without a source", f"{len(report.orphaned):,} outputs, {what}")
    return table


def _measure(measure: Measure, good_rows: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in (measure.title.lower(), "rows", "share", ""):
        table.add_column(name, justify="right" if name in ("rows", "share") else "left", overflow="fold")
    ranked = sorted(measure.values.items(), key=lambda item: -item[1])
    longest = max([1, *measure.values.values()])
    for name, rows in ranked[:_BARS_SHOWN]:
        bar = "█" * round(_BAR * rows / longest)
        table.add_row(Text(name), f"{rows:,}", in_percent(rows / good_rows), bar)
    if len(ranked) > _BARS_SHOWN:
        rest = sum(rows for _, rows in ranked[_BARS_SHOWN:])
        table.add_row(f"{len(ranked) - _BARS_SHOWN} more", f"{rest:,}", in_percent(rest / good_rows), "")
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
            *(
                (name, f"{rate:,.0f} rows/s")
                for name, rate in (
                    ("reading", guess.reading_rows_per_second),
                    ("preparing", guess.preparing_rows_per_second),
                    ("computing", guess.computing_rows_per_second),
                )
                if rate is not None
            ),
            ("limit", f"{guess.limit}; all together {guess.rows_per_second:,.0f} rows/s"),
            ("time", f"about {duration(guess.seconds)}, {duration(guess.loading_seconds)} of it loading"),
            ("memory", f"at the most about {guess.memory_bytes / 1e9:,.1f} GB"),
        ):
            grid.add_row(name, value)
        tables.append(grid)
    return tables
