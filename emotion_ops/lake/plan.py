"""What there is to do: every source file, its row groups, and whether its output stands already."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.parquet as pq

from emotion_ops.errors import DatasetError
from emotion_ops.lake.fingerprint import Fingerprint, Recipe
from emotion_ops.lake.journal import Journal
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


@dataclass(frozen=True)
class SourceFile:
    """A source file.

    Attributes:
        folder: The folder that the source names.
        entry: The file in it.
        swept: Whether it was found by listing the folder, rather than named.
    """

    folder: Folder
    entry: Entry
    swept: bool

    @property
    def key(self) -> str:
        """Its place in the folder, and its output's in the destination."""
        return self.entry.key

    @property
    def path(self) -> str:
        """Where it is, for messages."""
        return self.folder.path(self.key)


def find_sources(source: str | Sequence[str]) -> list[SourceFile]:
    """Every Parquet file of a source.

    Args:
        source: A file, a folder (at any depth; hive partitions), a glob (``*``, ``?``, ``[…]``, where ``*``
            crosses folders too), or a list of these, each a local path or a URI.

    Raises:
        DatasetError: There is nothing, or two sources would write one output.
    """
    found = [file for one in ([source] if isinstance(source, str) else source) for file in _find(one)]
    keys = [file.key for file in found]
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise DatasetError(twice, "two sources have a file of this name", "enrich them into two destinations")
    return found


def _find(source: str) -> list[SourceFile]:
    folder, name = split(source)
    entry = folder.entry(name)
    base, question, options = source.partition("?") if "://" in source else (source, "", "")
    first_sign = re.search(r"[*?\[]", base)
    if entry is not None:
        files = [SourceFile(folder, entry, swept=False)]
    elif first_sign and not Folder(source).is_folder():
        fixed = base[: first_sign.start()].rpartition("/")[0]
        top = Folder(f"{fixed or ('/' if base.startswith('/') else '.')}{question}{options}")
        pattern = base[len(fixed) :].lstrip("/")
        found = (entry for entry in top.entries() if fnmatch.fnmatchcase(entry.key, pattern))
        files = [SourceFile(top, entry, swept=True) for entry in found]
    else:
        top = Folder(source)
        files = [SourceFile(top, entry, swept=True) for entry in top.entries() if entry.key.endswith(".parquet")]
    if not files:
        raise DatasetError(
            str(Folder(source)), "there is no such Parquet file, nor a folder with any", "check the path"
        )
    return files


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
