"""``emotion-ops enrich``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from emotion_ops.cli.arguments import Json, Operator, Places, split_places
from emotion_ops.cli.operators import DEFAULT, job_arguments, job_flags, make_operator, operator_flags
from emotion_ops.cli.output import print_json, progress_of_rows
from emotion_ops.cli.summary import print_plan, print_report
from emotion_ops.flags.fields import FlagSet
from emotion_ops.lake.enrich import enrich_dataset
from emotion_ops.lake.manifest import build_manifest


def flag_sets(operator: str) -> tuple[FlagSet, ...]:
    """The flags of the command, for an operator."""
    return operator_flags(operator or DEFAULT), job_flags()


def enrich(
    source: Places,
    operator: Operator = DEFAULT,
    manifest: Annotated[
        Path | None, typer.Option(help="A local file for the report in short, as JSON, for a scheduler.")
    ] = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Append an operator's columns to a Parquet dataset; run it again to continue or to skip what exists.

    emotion-ops enrich faces/ enriched/ --image photo --model demo

    emotion-ops enrich faces/ sizes/ --operator image_statistics
    """
    run_job(source, operator, options, manifest, as_json=as_json)


def run_job(
    places: list[str], operator: str, options: Mapping[str, Any], manifest: Path | None, *, as_json: bool
) -> None:
    """Enrich, or plan, and print what was done.

    Args:
        places: Sources, then the destination.
        operator: The operator's name.
        options: Options of the operator and of ``enrich_dataset``, by flat name.
        manifest: Where the manifest goes; None writes none.
        as_json: Print the report as JSON instead of tables.
    """
    sources, destination = split_places(places)
    flags, _ = flag_sets(operator)
    made = make_operator(operator, {name: value for name, value in options.items() if name in flags.flags})
    job = job_arguments({name: value for name, value in options.items() if name not in flags.flags})
    with progress_of_rows("enriching") as show:
        report = enrich_dataset(
            sources, destination, made, **job, on_progress=lambda p: show(p.rows_done, p.rows_total, p.errors)
        )
    if manifest is not None:
        short = build_manifest(report, made, columns=job.get("columns", "all"), shard=job.get("shard"))
        manifest.write_text(json.dumps(short, indent=1) + "\n")
    if as_json:
        print_json(report.to_dict())
    elif report.dry_run:
        print_plan(report)
    else:
        print_report(report)
