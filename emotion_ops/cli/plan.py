"""``emotion-ops plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emotion_ops.cli import enrich
from emotion_ops.cli.arguments import Json, Operator, Places
from emotion_ops.cli.operators import DEFAULT
from emotion_ops.flags.fields import FlagSet


def flag_sets(operator: str) -> tuple[FlagSet, ...]:
    """The flags of the command, for an operator."""
    of_operator, of_job = enrich.flag_sets(operator)
    return of_operator, of_job.without("dry_run")


def plan(
    source: Places,
    operator: Operator = DEFAULT,
    manifest: Annotated[Path | None, typer.Option(help="A local file for the plan in short, as JSON.")] = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Say what enrich would do with the same arguments, and try a small sample: time, memory, errors, limit.

    emotion-ops plan faces/ enriched/ --image photo --model demo
    """
    enrich.run_job(source, operator, {**options, "dry_run": True}, manifest, as_json=as_json)
