"""Enriched files: what their footers say, and their rows next to those of another file."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from emotion_ops.errors import DatasetError, EmotionOpsError
from emotion_ops.lake.fingerprint import Fingerprint
from emotion_ops.lake.parquet import Footer, read_batches, read_footer
from emotion_ops.lake.provenance import FINGERPRINT_KEY, LINEAGE_KEY
from emotion_ops.lake.targets.folder import Entry, Folder, is_parquet, split_uri
from emotion_ops.operators import registry
from emotion_ops.operators.base import METADATA_KEY, TableOperator


@dataclass(frozen=True)
class Output:
    """An enriched file.

    Attributes:
        folder: The folder that it is in.
        entry: The file in it.
        footer: Its footer.
        first: The position of the first appended column.
        names: The names of the appended columns, by the metadata of the first one; the error column is last.
        column_lineage: What made the columns, by the same metadata.
        fingerprint: Everything that decided its content; None if ``enrich_dataset`` did not write it.
        lineage: What made it, by its footer; empty if ``enrich_dataset`` did not write it.
    """

    folder: Folder
    entry: Entry
    footer: Footer
    first: int
    names: tuple[str, ...]
    column_lineage: Mapping[str, str]
    fingerprint: Fingerprint | None
    lineage: Mapping[str, str]

    @property
    def key(self) -> str:
        """Its key in the folder."""
        return self.entry.key

    @property
    def rows(self) -> int:
        """Its rows."""
        return self.footer.rows

    @property
    def dropped(self) -> int:
        """Rows of its source that it left out with ``on_error="drop"``, by its own footer."""
        if self.fingerprint is None or self.fingerprint.on_error != "drop":
            return 0
        return max(0, int(self.fingerprint.parts.get("source_rows", 0)) - self.rows)

    @property
    def appended_schema(self) -> pa.Schema:
        """The appended columns that it has."""
        return pa.schema(list(self.footer.schema)[self.first : self.first + len(self.names)])

    @property
    def is_complete(self) -> bool:
        """Whether it has all appended columns, in order."""
        return tuple(self.appended_schema.names) == self.names

    def appended(self) -> Iterator[pa.RecordBatch]:
        """The appended columns alone.

        Raises:
            DatasetError: Its data cannot be read.
        """
        columns = range(self.first, self.first + len(self.names))
        return read_batches(self.folder, self.key, columns=list(columns))

    @functools.cached_property
    def operator(self) -> TableOperator | None:
        """An operator for the appended columns; None if it is not installed, or its options cannot be read."""
        name = self.fingerprint.operator_name if self.fingerprint else self.column_lineage.get("operator", "")
        identity = self.fingerprint.identity if self.fingerprint else {"operator": name}
        if not registry.is_registered(name):
            return None
        try:
            found: TableOperator = registry.load_operator_class(name).from_identity(identity)
        except (EmotionOpsError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return None  # of another version, or changed by someone
        return found


def read_output(folder: Folder, entry: Entry) -> Output | None:
    """Read the footer of an enriched file; None if it has no appended columns.

    Raises:
        DatasetError: It is not a complete Parquet file.
    """
    footer = read_footer(folder, entry.key)
    found = _appended_columns(footer.schema)
    if found is None:
        return None
    first, names, lineage = found
    fingerprint = _json(footer.key_values.get(FINGERPRINT_KEY))
    return Output(
        folder=folder,
        entry=entry,
        footer=footer,
        first=first,
        names=names,
        column_lineage=lineage,
        fingerprint=Fingerprint(fingerprint) if fingerprint else None,
        lineage=_json(footer.key_values.get(LINEAGE_KEY)),
    )


def open_output_folder(destination: str) -> tuple[Folder, str | None]:
    """A destination of ``enrich_dataset``: its folder, and the output's name if it is one file.

    Raises:
        DatasetError: There is no such folder.
    """
    folder = Folder(destination)
    if folder.is_folder():
        return folder, None
    parent, name = split_uri(destination)
    if name.endswith(".parquet") and parent.is_folder():
        return parent, name
    raise DatasetError(str(folder), "there is no such folder", "give the destination of an enrich job", retryable=True)


def data_files(folder: Folder, name: str | None) -> list[Entry]:
    """The Parquet files that readers of a destination see, by key; only the one of this name if there is a name."""
    if name is not None:
        entry = folder.entry(name)
        return [] if entry is None else [entry]
    return [entry for entry in folder.entries() if is_parquet(entry.key)]


def aligned(
    left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The rows of two streams side by side, in batches of equal length, until the shorter stream ends.

    Args:
        left: Batches of any lengths.
        right: Batches of any other lengths.
    """
    a = b = None
    while True:
        if a is None or not a.num_rows:
            a = next(left, None)
        if b is None or not b.num_rows:
            b = next(right, None)
        if a is None or b is None:
            return
        rows = min(a.num_rows, b.num_rows)
        if rows:
            yield a.slice(0, rows), b.slice(0, rows)
        a, b = a.slice(rows), b.slice(rows)


def _appended_columns(schema: pa.Schema) -> tuple[int, tuple[str, ...], dict[str, str]] | None:
    """The columns that were appended last: where they begin, their names, and what made them."""
    for first in reversed(range(len(schema))):
        lineage = _json((schema.field(first).metadata or {}).get(METADATA_KEY))
        names = lineage.pop("columns", None)
        if isinstance(names, list) and names[:1] == [schema.field(first).name]:
            return first, tuple(map(str, names)), lineage
    return None


def _json(text: bytes | None) -> dict[str, Any]:
    """A JSON object; empty if there is none that can be read."""
    try:
        value = json.loads(text or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
