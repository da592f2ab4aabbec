"""``emotion-ops clean``."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from emotion_ops.cli.arguments import Destination, Json
from emotion_ops.cli.output import out, print_json, two_columns
from emotion_ops.flags.fields import FlagSet, read_flags
from emotion_ops.flags.values import build_arguments
from emotion_ops.lake.audit.clean import clean_destination


def flag_sets(operator: str) -> tuple[FlagSet, ...]:
    """The flags of the command."""
    return (read_flags(clean_destination),)


def clean(destination: Destination, as_json: Json = False, **options: Any) -> None:
    """Remove what killed runs left in a destination, and nothing else.

    emotion-ops clean enriched/ --dry-run
    """
    given = build_arguments(read_flags(clean_destination), options)
    report = clean_destination(destination, **given)
    if as_json:
        print_json(report.to_dict())
        return
    table = two_columns()
    table.add_row("destination", report.destination)
    table.add_row(
        "would be removed" if given.get("dry_run") else "removed",
        f"{len(report.removed):,} leftovers, {report.bytes:,} bytes",
    )
    if report.remaining:
        size = sum(one.bytes for one in report.remaining)
        what = f"{len(report.remaining):,} journals of unfinished files, {size:,} bytes"
        table.add_row("remaining", f"{what}: the next run continues from them, --journals removes them")
    out.print(table)
    if report.removed:
        listed = Table(box=None, padding=(0, 2, 0, 0))
        listed.add_column("kind")
        listed.add_column("bytes", justify="right")
        listed.add_column("path", overflow="fold")
        for one in report.removed:
            listed.add_row(one.kind, f"{one.bytes:,}", one.path)
        out.print()
        out.print(listed)
