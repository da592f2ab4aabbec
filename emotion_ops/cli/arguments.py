"""Arguments that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
Destination = Annotated[str, typer.Argument(help="The destination of an enrich job: a folder, or its one file.")]
Places = Annotated[
    list[str],
    typer.Argument(help="Parquet files, folders or globs, then the destination.", metavar="SOURCE… DESTINATION"),
]
Operator = Annotated[
    str, typer.Option(metavar="NAME", help="The table operator, by its registered name. It decides the options below.")
]


def split_places(places: list[str]) -> tuple[list[str], str]:
    """The sources and the destination.

    Raises:
        typer.BadParameter: There is one place only.
    """
    if len(places) < 2:
        raise typer.BadParameter("give SOURCE and DESTINATION")
    return places[:-1], places[-1]
