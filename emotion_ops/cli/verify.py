"""``emotion-ops verify``."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table

from emotion_ops.cli.arguments import Json, Places, split_places
from emotion_ops.cli.output import ExitCode, counted, err, made_by, out, print_json, two_columns
from emotion_ops.flags.fields import FlagSet, read_flags
from emotion_ops.flags.values import build_arguments
from emotion_ops.lake.audit.verify import VerifyReport, verify_dataset


def flag_sets(operator: str) -> tuple[FlagSet, ...]:
    """The flags of the command."""
    return (read_flags(verify_dataset).without("on_progress"),)


def verify(source: Places, as_json: Json = False, **options: Any) -> None:
    """Prove that every source row has exactly its output row; the exit code is 1 if something is wrong.

    emotion-ops verify faces/ enriched/
    """
    sources, destination = split_places(source)
    given = build_arguments(flag_sets("")[0], options)
    with err.status("verifying") as line:  # shown on a terminal only
        report = verify_dataset(
            sources,
            destination,
            **given,
            on_progress=lambda done, total: line.update(f"verifying: {done:,} of {total:,} files"),
        )
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)
    raise typer.Exit(ExitCode.OK if report.proven else ExitCode.FOUND_WRONG)


def _show(report: VerifyReport) -> None:
    table = two_columns()
    failed = counted(report.errors)
    for name, value in (
        ("source", report.source),
        ("destination", report.destination),
        ("files", f"{report.files:,} compared with their source"),
        ("rows", f"{report.rows:,}, failed: {failed}" + (f", dropped: {report.dropped:,}" if report.dropped else "")),
        ("made by", made_by(report.lineage)),
        ("time", f"{report.seconds:.1f} s"),
    ):
        table.add_row(name, value)
    for what, files in report.unproven.items():
        table.add_row("cannot be proven", f"{what} ({files:,} files)")
    out.print(table)
    out.print()
    if report.proven:
        out.print("Proven: every source row has exactly its output row.", style="green")
        return
    listed = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("check", "file", "row", "what is wrong"):
        listed.add_column(name, justify="right" if name == "row" else "left", overflow="fold")
    for problem in report.problems:
        row = "" if problem.row is None else f"{problem.row:,}"
        listed.add_row(problem.check.replace("_", " "), problem.file, row, problem.what)
    out.print(listed)
    out.print()
    counts = counted({check.replace("_", " "): count for check, count in report.counts.items()})
    out.print(f"Found wrong: {counts}. Rows are counted from 0.", style="red", soft_wrap=True)
