"""What there is to do: every source file, its row groups, and whether its output stands already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.parquet as pq

from emotion_ops.errors import DatasetError
from emotion_ops.lake.fingerprint import Fingerprint, Recipe
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.sources import SourceFile, find_sources
from emotion_ops.lake.storage import Entry, Folder, split
from emotion_ops.operators.classify import ClassifyEmotions

FINGERPRINT_KEY = b"emotion_ops.fingerprint"
LINEAGE_KEY = b"emotion_ops.lineage"


class Action(StrEnum):
    """What happens to one source file."""

    NEW = "new"
    CHANGED = "changed"
    OVERWRITE = "overwrite"
    SKIP = "skip"
    REFUSE = "refuse"


@dataclass(frozen=True)
class RowGroup:
    """One row group of a source file: rows, and bytes uncompressed."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class FilePlan:
    """One source file and what becomes of it.

    Attributes:
        source: The folder that it lies in.
        entry: Its identity.
        schema: Its Arrow schema.
        row_groups: Its row groups, in order.
        destination: The folder that the output goes to.
        key: The output's key there.
        fingerprint: What the output would be made of.
        action: What happens.
        reason: Why, in words.
    """

    source: Folder
    entry: Entry
    schema: pa.Schema
    row_groups: tuple[RowGroup, ...]
    destination: Folder
    key: str
    fingerprint: Fingerprint
    action: Action
    reason: str

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(group.rows for group in self.row_groups)

    @property
    def journal(self) -> Journal:
        """Where the answers of its row groups are kept meanwhile."""
        return Journal(self.destination, self.key, self.fingerprint.digest)


def plan_dataset(
    uris: Sequence[str],
    destination: str,
    operator: ClassifyEmotions,
    recipe: Recipe,
    shard: tuple[int, int] | None,
    *,
    overwrite: bool,
) -> tuple[Folder, str | None, list[FilePlan]]:
    """The destination's folder, the output's name where it is a single file, and what happens to each source."""
    files = find_sources(uris)
    if destination.endswith(".parquet") and len(files) == 1:
        folder, name = split(destination)
        keys = [name]
    else:
        folder, name = Folder(destination), None
        keys = [file.key for file in files]
    outputs = {folder.child(key).identity for key in keys}
    for file in files:
        if file.folder.child(file.entry.key).identity in outputs:
            raise DatasetError(file.path, "is source and destination at once", "give another destination")
        if file.swept and f"{folder.identity}/".startswith(f"{file.folder.identity}/"):
            raise DatasetError(
                str(folder),
                f"lies in the source {file.folder}",
                "give a destination outside, lest it be read as a source",
            )
    plans = [
        plan_file(file, folder, key, operator, recipe, overwrite=overwrite)
        for file, key in zip(files, keys, strict=True)
        if in_shard(key, shard)
    ]
    return folder, name, plans


def vanished_outputs(folder: Folder, plans: Sequence[FilePlan]) -> tuple[str, ...]:
    """Outputs of this package whose source file is gone."""
    standing = {plan.key for plan in plans}
    keys = [entry.key for entry in folder.entries() if entry.key.endswith(".parquet") and entry.key not in standing]
    return tuple(key for key in keys if fingerprint_of(folder, key) is not None)


def in_shard(key: str, shard: tuple[int, int] | None) -> bool:
    """Whether a file belongs to shard ``i`` of ``n``: by its key alone, so that machines agree unasked."""
    if shard is None:
        return True
    return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16) % shard[1] == shard[0]


def plan_file(
    file: SourceFile, destination: Folder, key: str, operator: ClassifyEmotions, recipe: Recipe, *, overwrite: bool
) -> FilePlan:
    """Decide what happens to one file: reads its footer, and its output's where there is one.

    Raises:
        DatasetError: The source is no whole Parquet file.
        ColumnError: Its schema does not fit the options.
    """
    try:
        with file.folder.open(file.entry.key) as opened, pq.ParquetFile(opened) as parquet:
            schema, metadata = parquet.schema_arrow, parquet.metadata
            groups = tuple(
                RowGroup(metadata.row_group(i).num_rows, metadata.row_group(i).total_byte_size)
                for i in range(metadata.num_row_groups)
            )
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            file.folder.path(file.entry.key),
            f"is no whole Parquet file ({error})",
            "mend it, or move it away, and run again",
        ) from error
    operator.output_schema(schema)
    fingerprint = recipe.fingerprint(file.entry, sum(group.rows for group in groups))
    action, reason = _decide(destination, key, fingerprint, overwrite=overwrite)
    return FilePlan(file.folder, file.entry, schema, groups, destination, key, fingerprint, action, reason)


def fingerprint_of(folder: Folder, key: str) -> Fingerprint | None:
    """The fingerprint in the footer of an output; None where it has none or is no Parquet file."""
    try:
        with folder.open(key) as opened, pq.ParquetFile(opened) as parquet:
            text = (parquet.metadata.metadata or {}).get(FINGERPRINT_KEY)
    except (pa.ArrowException, OSError):
        return None
    return Fingerprint.from_json(text) if text else None


def _decide(destination: Folder, key: str, wanted: Fingerprint, *, overwrite: bool) -> tuple[Action, str]:
    if destination.entry(key) is None:
        return Action.NEW, "has no output yet"
    have = fingerprint_of(destination, key)
    if have is not None and have.digest == wanted.digest:
        return Action.SKIP, "its output stands, made of the same"
    if have is None:
        differences = ["the output was not written by this package"]
    else:
        differences = wanted.differences(have)
        if all(difference.startswith("source_") for difference in differences):
            return Action.CHANGED, f"the source changed ({'; '.join(differences)})"
    action = Action.OVERWRITE if overwrite else Action.REFUSE
    return action, "; ".join(differences)
