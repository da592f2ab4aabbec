"""``emotion-ops status``."""

from __future__ import annotations

import time
from collections import Counter
from typing import Annotated

import typer
from rich.table import Table

from emotion_ops.cli.arguments import Destination, Json
from emotion_ops.cli.output import counted, made_by, out, print_json, two_columns
from emotion_ops.lake.audit.status import DatasetStatus, FileStatus, State, dataset_status

_LISTED = 50


def status(
    destination: Destination,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Also say which of its files have no output yet, or changed. May be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which files of a dataset are done, in progress, stale or failed; nothing is changed.

    emotion-ops status enriched/ --source faces/
    """
    found = dataset_status(destination, source or None)
    if as_json:
        print_json(found.to_dict())
        return
    out.print(_summary(found))
    if found.files:
        out.print()
        out.print(_files(found.files))
        if len(found.files) > _LISTED:
            out.print(f"and {len(found.files) - _LISTED:,} more, which --json lists")


def _summary(found: DatasetStatus) -> Table:
    table = two_columns()
    table.add_row("destination", found.destination)
    states = ", ".join(f"{count:,} {_words(state)}" for state, count in found.counts.items())
    table.add_row("files", states or "none")
    table.add_row("rows", f"{found.rows:,}, failed: {counted(found.errors)}")
    makers = Counter(made_by(file.lineage) for file in found.files if file.lineage)
    for maker, files in makers.most_common():
        table.add_row("made by", f"{maker} ({files:,} files)")
    for run in found.runs:
        state = "running" if run.living else "killed"
        part = f" on {run.part}" if run.part else ""
        age = max(0.0, time.time() - run.renewed_at)
        what = f"process {run.process} on {run.host}{part}, lease renewed {age:,.0f} s ago"
        table.add_row(f"{state} run", what)
    for key, report in found.reports.items():
        outcome = (f"{name} {report[name]:,}" for name in ("files", "skipped", "rows") if name in report)
        failed = counted(report.get("errors", {}))
        table.add_row("last run", f"{report.get('outcome', '')}: {', '.join(outcome)}, failed: {failed} ({key})")
    for resumable, name, what in (
        (True, "to continue from", "the same enrich command does"),
        (False, "left by killed runs", "emotion-ops clean removes them"),
    ):
        left = [one for one in found.leftovers if one.resumable is resumable]
        if left:
            kinds: Counter[str] = Counter(one.kind for one in left)
            table.add_row(name, f"{counted(kinds)}: {sum(one.bytes for one in left):,} bytes; {what}")
    return table


def _files(files: tuple[FileStatus, ...]) -> Table:
    """Those that are not done first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("file", "state", "rows", "note"):
        table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
    for file in sorted(files, key=lambda file: file.state is State.DONE)[:_LISTED]:
        rows = f"{file.rows:,}" if file.lineage else ""
        table.add_row(file.file, _words(file.state), rows, _note(file))
    return table


def _note(file: FileStatus) -> str:
    of = "" if file.of_row_groups is None else f" of {file.of_row_groups:,}"
    return "; ".join(
        part
        for part in (
            file.note,
            f"failed: {counted(file.errors)}" if file.errors else "",
            f"dropped: {file.dropped:,}" if file.dropped else "",
            f"{file.row_groups:,}{of} row groups finished" if file.row_groups else "",
        )
        if part
    )


def _words(state: str) -> str:
    return state.replace("_", " ")
