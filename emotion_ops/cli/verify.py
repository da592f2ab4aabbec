"""``emotion-ops verify``."""

from __future__ import annotations

from rich.table import Table

from emotion_ops.cli.output import ExitCode, counted, err, made_by, out, print_json, two_columns
from emotion_ops.lake.audit.verify import VerifyReport, verify_dataset


def verify(sources: list[str], destination: str, max_problems: int, *, as_json: bool) -> ExitCode:
    """Verify and say what was proven.

    Returns:
        ``OK`` where nothing is wrong, else ``FOUND_WRONG``.
    """
    with err.status("verifying") as line:  # nothing but on a terminal
        report = verify_dataset(
            sources,
            destination,
            max_problems=max_problems,
            on_progress=lambda done, total: line.update(f"verifying: {done:,} of {total:,} files"),
        )
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)
    return ExitCode.OK if report.proven else ExitCode.FOUND_WRONG


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
