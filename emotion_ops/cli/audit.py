"""The commands that look at an enriched dataset: ``status``, ``verify``, ``diff`` and ``clean``."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
Destination = Annotated[str, typer.Argument(help="The destination of an enrich job: a folder, or its one file.")]


@app.command()
def status(
    destination: Destination,
    source: Annotated[
        list[str] | None, typer.Option(help="Also say which of its files wait or changed; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which files of a dataset are done, in progress, stale or failed; nothing is changed.

    emotion-ops status enriched/ --source faces/
    """
    from emotion_ops.cli.status import status as command

    command(destination, source, as_json=as_json)


@app.command()
def verify(
    source: Annotated[
        list[str],
        typer.Argument(help="Parquet files, folders or globs, then the destination.", metavar="SOURCE… DESTINATION"),
    ],
    max_problems: Annotated[int, typer.Option(help="Problems of each kind that are listed; all are counted.")] = 20,
    as_json: Json = False,
) -> None:
    """Prove that every source row has exactly its output row; exit code 1 where something is wrong.

    emotion-ops verify faces/ enriched/
    """
    from emotion_ops.cli.verify import verify as command

    if len(source) < 2:
        raise typer.BadParameter("give SOURCE and DESTINATION")
    raise typer.Exit(command(source[:-1], source[-1], max_problems, as_json=as_json))


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="An enriched file, folder or glob.")],
    b: Annotated[str, typer.Argument(help="Another, of the same rows.")],
    rows: Annotated[int, typer.Option(help="Rows with the largest drift that are listed.")] = 10,
    max_changes: Annotated[int | None, typer.Option(help="Maximum rows whose category may change.")] = None,
    max_change_rate: Annotated[float | None, typer.Option(help="Maximum part of the rows that may change.")] = None,
    max_drift: Annotated[float | None, typer.Option(help="Maximum drift of one number.")] = None,
    max_mean_drift: Annotated[float | None, typer.Option(help="Maximum mean drift.")] = None,
    min_coverage: Annotated[float | None, typer.Option(help="Minimum part of all rows that were compared.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two enriched outputs: changed categories, drifted numbers, rows in only one of them.

    Exit code 1 where a limit is exceeded.

    emotion-ops diff enriched/ enriched-by-the-new-model/ --max-change-rate 0.01
    """
    from emotion_ops.cli.diff import diff as command

    limits = {
        "max_changes": max_changes, "max_change_rate": max_change_rate, "max_drift": max_drift,
        "max_mean_drift": max_mean_drift, "min_coverage": min_coverage,
    }  # fmt: skip
    raise typer.Exit(command(a, b, rows, limits, as_json=as_json))


@app.command()
def clean(
    destination: Destination,
    journals: Annotated[
        bool, typer.Option("--journals", help="Remove journals of unfinished files too; they are computed again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and touch nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what killed runs left in a destination, and nothing else.

    emotion-ops clean enriched/ --dry-run
    """
    from emotion_ops.cli.clean import clean as command

    command(destination, journals=journals, dry_run=dry_run, as_json=as_json)
