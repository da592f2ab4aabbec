"""What there is to do: every source file, its row groups, and whether its output stands already."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.parquet as pq

from emotion_ops.errors import ColumnError, ColumnNotFoundError, DatasetError
from emotion_ops.lake.fingerprint import Fingerprint, Recipe
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.retry import failed_rows, read_errors
from emotion_ops.lake.sources import SourceFile, find_sources, open_parquet
from emotion_ops.lake.storage import Entry, Folder, split
from emotion_ops.operators.classify import ClassifyEmotions

FINGERPRINT_KEY = b"emotion_ops.fingerprint"
LINEAGE_KEY = b"emotion_ops.lineage"
OUR_KEYS = (FINGERPRINT_KEY, LINEAGE_KEY)
"""What stands in a footer of ours; a source that is an output of before does not pass it on."""

_FOOTERS_AT_ONCE = 16  # an object store answers many questions in the time of one


class Action(StrEnum):
    """What happens to one source file."""

    NEW = "new"
    CHANGED = "changed"
    OVERWRITE = "overwrite"
    RETRY = "retry"
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
        stamp: What changes whenever it is touched.
        schema: Its Arrow schema.
        row_groups: Its row groups, in order.
        destination: The folder that the output goes to.
        key: The output's key there.
        fingerprint: What the output would be made of.
        action: What happens.
        reason: Why, in words.
        retried: The output whose failed rows are answered again; None where none are.
    """

    source: Folder
    entry: Entry
    stamp: str | None
    schema: pa.Schema
    row_groups: tuple[RowGroup, ...]
    destination: Folder
    key: str
    fingerprint: Fingerprint
    action: Action
    reason: str
    retried: Entry | None = None

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(group.rows for group in self.row_groups)

    @property
    def row_bytes(self) -> int:
        """What a row holds, as stored but not compressed, in the row group of the largest rows."""
        return max((group.bytes // max(1, group.rows) for group in self.row_groups), default=0)

    @property
    def source_path(self) -> str:
        """Where the source is, for messages."""
        return self.source.path(self.entry.key)

    @property
    def journal(self) -> Journal:
        """Where the answers of its row groups are kept meanwhile, as long as the source is not touched."""
        made_of = self.fingerprint
        digest = made_of.digest if self.retried is None else made_of.retry_digest(self.retried)
        stamp = hashlib.sha256(str(self.stamp).encode()).hexdigest()
        return Journal(self.destination, self.key, digest, stamp)


def plan_dataset(
    uris: Sequence[str],
    destination: str,
    operator: ClassifyEmotions,
    recipe: Recipe,
    shard: tuple[int, int] | None,
    *,
    overwrite: bool,
    retry: Sequence[str] = (),
    quarantine: Folder | None = None,
) -> tuple[Folder, str | None, list[FilePlan]]:
    """Decide what happens to each source file.

    Args:
        uris: The sources.
        destination: A folder, or a file ending in ``.parquet`` for a single source file.
        operator: The options.
        recipe: What they make of any file.
        shard: Which part of the files.
        overwrite: Whether outputs that were made otherwise are made anew.
        retry: The codes of the errors whose rows are answered again in outputs that stand.
        quarantine: Where failed rows go.

    Returns:
        The destination's folder, the output's name where it is a single file, and the plans, in order.

    Raises:
        DatasetError: There is no source, or it cannot be read, or what is written would lie in it.
        ColumnError: No file has the image column, or a file's schema does not fit the options.
    """
    files = find_sources(uris)
    if destination.endswith(".parquet") and len(files) == 1 and not Folder(destination).is_folder():
        folder, name = split(destination)
        keys = [name]
    else:
        folder, name = Folder(destination), None
        keys = [file.key for file in files]
    outputs = {folder.child(key).identity for key in keys}
    for file in files:
        if file.folder.child(file.entry.key).identity in outputs:
            raise DatasetError(file.path, "is source and destination at once", "give another destination")
    swept = {file.folder for file in files if file.swept}
    _check_apart(folder, swept, "the source")
    if quarantine is not None:
        _check_apart(quarantine, swept, "the source")
        _check_apart(quarantine, {folder}, "the destination")
    mine = [(file, key) for file, key in zip(files, keys, strict=True) if in_shard(key, shard)]

    schemas: dict[bytes, pa.Schema] = {}

    def plan(one: tuple[SourceFile, str]) -> FilePlan:
        planned = _plan_file(*one, folder, recipe, schemas, overwrite=overwrite)
        return _retried(planned, operator, retry) if retry else planned

    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        plans = list(pool.map(plan, mine))
    _check_schemas(plans, operator)
    return folder, name, plans


def _check_apart(folder: Folder, others: Iterable[Folder], what: str) -> None:
    """Refuse to write where rows would be read as a part of something else."""
    for other in others:
        if f"{folder.identity}/".startswith(f"{other.identity}/"):
            raise DatasetError(
                str(folder), f"lies in {what} {other}", "give another place, lest it be read as a part of it"
            )


def _check_schemas(plans: Sequence[FilePlan], operator: ClassifyEmotions) -> None:
    """Schemas may differ from file to file, as for pyarrow.dataset: a file without the image column has nulls there."""
    if plans and not any(operator.image in plan.schema.names for plan in plans):
        raise ColumnNotFoundError(operator.image, plans[0].schema.names).at(plans[0].source_path)
    fits: pa.Schema | None = None
    for plan in plans:
        if fits is not None and plan.schema.equals(fits):  # as in most datasets for every file but the first
            continue
        try:
            if operator.image in plan.schema.names:
                operator.output_schema(plan.schema)
            else:
                operator.output_columns().append_to(plan.schema)
            fits = plan.schema
        except ColumnError as error:
            raise error.at(plan.source_path) from None


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


def _plan_file(
    file: SourceFile,
    key: str,
    destination: Folder,
    recipe: Recipe,
    schemas: dict[bytes, pa.Schema],
    *,
    overwrite: bool,
) -> FilePlan:
    """Decide what happens to one file: reads its footer, and its output's where there is one.

    Equal schemas are one object in all plans, since they are most of a plan: ``schemas`` has each by its digest.
    """
    stamp = file.folder.stamp(file.key)  # before anything is read
    with open_parquet(file.folder, file.entry.key) as parquet:
        schema, metadata = parquet.schema_arrow, parquet.metadata
        groups = tuple(
            RowGroup(metadata.row_group(i).num_rows, metadata.row_group(i).total_byte_size)
            for i in range(metadata.num_row_groups)
        )
    schema = schemas.setdefault(hashlib.sha256(schema.serialize()).digest(), schema)
    fingerprint = recipe.fingerprint(file.entry, sum(group.rows for group in groups))
    action, reason = _decide(destination, key, fingerprint, overwrite=overwrite)
    return FilePlan(file.folder, file.entry, stamp, schema, groups, destination, key, fingerprint, action, reason)


def _retried(plan: FilePlan, operator: ClassifyEmotions, codes: Sequence[str]) -> FilePlan:
    """The plan of a file whose output stands, if rows of it failed that are to be answered again."""
    standing = plan.destination.entry(plan.key) if plan.action is Action.SKIP else None
    if standing is None:
        return plan
    failed = failed_rows(read_errors(plan.destination, plan.key, operator.output_columns().error), codes)
    if not failed:
        return plan
    reason = f"{failed:,} of its rows failed, and are tried again"
    return dataclasses.replace(plan, action=Action.RETRY, reason=reason, retried=standing)


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
