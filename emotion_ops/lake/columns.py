"""Which source columns pass through to the outputs."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from emotion_ops.errors import ColumnNotFoundError, OptionError


def passthrough_columns(schema: pa.Schema, columns: str | Sequence[str]) -> tuple[int, ...]:
    """The positions of the columns of one file that pass through, in the file's order; see ``enrich_dataset``."""
    if columns == "all":
        return tuple(range(len(schema)))
    if columns == "none" or not columns:
        return ()
    included, excluded = _split(columns)
    return tuple(
        position
        for position, name in enumerate(schema.names)
        if (name in included if included else name not in excluded)
    )


def check_columns(schemas: Sequence[pa.Schema], columns: str | Sequence[str]) -> None:
    """Refuse names that no file of a dataset has.

    Raises:
        OptionError: Names to include and names to exclude are mixed.
        ColumnNotFoundError: No file has a column of the name.
    """
    if columns in ("all", "none"):
        return
    included, excluded = _split(columns)
    if included and excluded:
        raise OptionError("columns", columns, "name columns to include, or columns to exclude with '-', not both")
    known = dict.fromkeys(name for schema in schemas for name in schema.names)
    for name in [*included, *excluded]:
        if schemas and name not in known:
            raise ColumnNotFoundError(name, list(known))


def _split(columns: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """Names to include and names to exclude."""
    names = [columns] if isinstance(columns, str) else list(columns)
    return [n for n in names if not n.startswith("-")], [n.removeprefix("-") for n in names if n.startswith("-")]
