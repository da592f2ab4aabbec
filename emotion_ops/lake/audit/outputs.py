"""Enriched files as they stand: what their footers tell, and their rows beside those of another file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from emotion_ops.errors import DatasetError
from emotion_ops.io.redact import redact_all
from emotion_ops.lake.fingerprint import Fingerprint
from emotion_ops.lake.plan import FINGERPRINT_KEY, LINEAGE_KEY
from emotion_ops.lake.runners.local import read_batches
from emotion_ops.lake.sources.parquet_files import is_broken
from emotion_ops.lake.targets.folder import Entry, Folder, is_parquet, split
from emotion_ops.operators.classify.columns import METADATA_KEY, OutputColumns


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself.

    Attributes:
        schema: Its Arrow schema.
        rows: Rows in each row group.
        metadata: The key-value pairs of the file.
        nulls: For each row group, the nulls of each flat column by name, where the file counts them.
    """

    schema: pa.Schema
    rows: tuple[int, ...]
    metadata: Mapping[bytes, bytes]
    nulls: tuple[Mapping[str, int], ...]


@dataclass(frozen=True)
class Output:
    """An enriched file.

    Attributes:
        folder: Where it lies.
        entry: The file in it.
        footer: What it says of itself.
        first: Where the emotion columns begin among its columns.
        columns: The emotion columns, with the lineage that their label field carries.
        fingerprint: What it was made of; None where ``enrich_dataset`` did not write it.
        lineage: The footer's lineage; empty likewise.
    """

    folder: Folder
    entry: Entry
    footer: Footer
    first: int
    columns: OutputColumns
    fingerprint: Fingerprint | None
    lineage: Mapping[str, str]

    @property
    def key(self) -> str:
        """Its place in the folder."""
        return self.entry.key

    @property
    def rows(self) -> int:
        """Its rows."""
        return sum(self.footer.rows)

    @property
    def dropped(self) -> int:
        """Rows of its source that it left out under ``on_error="drop"``, by its own account."""
        parts = self.fingerprint.parts if self.fingerprint else {}
        return int(parts.get("source_rows", 0)) - self.rows if parts.get("on_error") == "drop" else 0

    def answers(self) -> Iterator[pa.RecordBatch]:
        """The emotion columns alone, in order.

        Raises:
            DatasetError: Its data is broken.
        """
        names = list(self.columns.names)
        for batch in read_batches(self.folder, self.key, columns=names, row_group=None):
            yield batch.select(names)

    def failed_rows(self) -> Iterator[pa.RecordBatch]:
        """The error column, of the row groups in which the footer does not rule a failed row out.

        Raises:
            DatasetError: Its data is broken.
        """
        error = self.columns.error
        for group, (rows, nulls) in enumerate(zip(self.footer.rows, self.footer.nulls, strict=True)):
            if nulls.get(error) != rows:
                yield from read_batches(self.folder, self.key, columns=[error], row_group=group)


def read_footer(folder: Folder, key: str) -> Footer:
    """Read the footer of a Parquet file.

    Raises:
        DatasetError: It is no whole Parquet file.
    """
    try:
        with folder.open(key) as opened, pq.ParquetFile(opened, coerce_int96_timestamp_unit="us") as file:
            schema, metadata = file.schema_arrow, file.metadata
            groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
            return Footer(
                schema=schema,
                rows=tuple(group.num_rows for group in groups),
                metadata=metadata.metadata or {},
                nulls=tuple(_nulls(group) for group in groups),
            )
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            folder.path(key),
            f"is no whole Parquet file ({redact_all(str(error))})",
            "mend it or move it away",
            retryable=not is_broken(error),
        ) from error


def read_output(folder: Folder, entry: Entry) -> Output | None:
    """Read the footer of an enriched file; None where the file has no emotion columns.

    Raises:
        DatasetError: It is no whole Parquet file.
    """
    footer = read_footer(folder, entry.key)
    found = _emotion_columns(footer.schema)
    if found is None:
        return None
    fingerprint = _json(footer.metadata.get(FINGERPRINT_KEY))
    first, columns = found
    return Output(
        folder=folder,
        entry=entry,
        footer=footer,
        first=first,
        columns=columns,
        fingerprint=Fingerprint(fingerprint) if fingerprint else None,
        lineage=_json(footer.metadata.get(LINEAGE_KEY)),
    )


def open_destination(destination: str) -> tuple[Folder, str | None]:
    """A destination as ``enrich_dataset`` takes it: its folder, and the output's name where it is one file.

    Raises:
        DatasetError: There is no such folder.
    """
    folder = Folder(destination)
    if folder.is_folder():
        return folder, None
    parent, name = split(destination)
    if name.endswith(".parquet") and parent.is_folder():
        return parent, name
    raise DatasetError(str(folder), "there is no such folder", "give the destination of an enrich job", retryable=True)


def data_files(folder: Folder, name: str | None) -> list[Entry]:
    """The Parquet files that readers of a destination see, by key; under a name that one alone."""
    if name is not None:
        entry = folder.entry(name)
        return [] if entry is None else [entry]
    return [entry for entry in folder.entries() if is_parquet(entry.key)]


def aligned(
    left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The rows of two streams side by side, in batches of equal length, until the shorter one ends.

    Args:
        left: Batches of any lengths.
        right: Batches of any others.
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


def _emotion_columns(schema: pa.Schema) -> tuple[int, OutputColumns] | None:
    """The last columns that this package appended: a label field with lineage, and what follows up to its error."""
    names: Sequence[str] = schema.names
    for first in reversed(range(len(schema))):
        lineage = (schema.field(first).metadata or {}).get(METADATA_KEY)
        prefix = names[first]
        if lineage is None or f"{prefix}_error" not in names[first:]:
            continue
        last = names.index(f"{prefix}_error", first)
        of_type = dict(
            zip(names[first + 1 : last], [field.type for field in list(schema)[first + 1 : last]], strict=True)
        )
        lists = pa.types.is_list(of_type.get(f"{prefix}_labels", pa.null()))
        faces: Literal["none", "largest", "all"] = "none"
        if pa.types.is_struct(of_type.get(f"{prefix}_face", pa.null())):
            faces = "all" if pa.types.is_list(of_type.get(f"{prefix}_faces", pa.null())) else "largest"
        empty = OutputColumns((), prefix, _json(lineage), lists_labels=lists, faces=faces)
        labels = tuple(name.removeprefix(f"{prefix}_") for name in names[first + 1 : last - len(empty.added)])
        columns = dataclasses.replace(empty, labels=labels)
        if labels and columns.names == tuple(names[first : last + 1]):
            return first, columns
    return None


def _nulls(group: pq.RowGroupMetaData) -> dict[str, int]:
    columns = (group.column(number) for number in range(group.num_columns))
    return {
        column.path_in_schema: column.statistics.null_count
        for column in columns
        if column.is_stats_set and column.statistics.has_null_count
    }


def _json(text: bytes | None) -> dict[str, str]:
    """A JSON object; empty where there is none that can be read."""
    try:
        value = json.loads(text or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
