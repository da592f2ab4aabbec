"""What there is to do: every source file, its row groups, and whether its output stands already."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.parquet as pq

from emotion_ops.errors import ColumnError, ColumnNotFoundError, DatasetError
from emotion_ops.lake.fingerprint import Fingerprint, Recipe
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.retry import failed_rows, read_errors
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources, open_parquet
from emotion_ops.lake.targets.folder import Entry, Folder, is_hidden, split
from emotion_ops.operators.classify.operator import ClassifyEmotions

FINGERPRINT_KEY = b"emotion_ops.fingerprint"
LINEAGE_KEY = b"emotion_ops.lineage"
SOURCE_KEY = b"emotion_ops.source"
FAILED_KEY = b"emotion_ops.failed"
OUR_KEYS = (FINGERPRINT_KEY, LINEAGE_KEY, SOURCE_KEY, FAILED_KEY)
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
        standing: What lay at the output's place when this was planned; None for nothing.
        failed: Rows of an output that stands and is skipped, that have no answer.
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
    standing: Entry | None = None
    failed: int = 0

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
        retried = self.standing if self.action is Action.RETRY else None
        digest = made_of.digest if retried is None else made_of.retry_digest(retried)
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
        DatasetError: There is no source, or it cannot be read, or what is written would be read as a part of it, or
            it as a part of what is written.
        ColumnError: No file has the image column, or a file's schema does not fit the options.
    """
    files = find_sources(uris)
    if destination.endswith(".parquet") and len(files) == 1 and not Folder(destination).is_folder():
        folder, name = split(destination)
        keys = [name]
    else:
        folder, name = Folder(destination), None
        keys = [file.key for file in files]
        hidden = next((file for file in files if is_hidden(file.key)), None)
        if hidden is not None:
            what = "has a name that readers leave out, and its output would have it too"
            raise DatasetError(hidden.path, what, "give the output a name: a destination that ends in .parquet")
    outputs = {folder.identity(key) for key in keys}
    for file in files:
        if file.folder.identity(file.key) in outputs:
            raise DatasetError(file.path, "is source and destination at once", "give another destination")
    swept = {file.named.identity(): str(file.named) for file in files if file.swept}
    single = {file.folder.identity(file.key): file.path for file in files if not file.swept}
    _check_outside(folder, swept, "the source")
    if name is None:  # else nobody takes the folder for the output
        _check_not_around(folder, swept | single, "the destination")
    if quarantine is not None:
        _check_outside(quarantine, swept, "the source")
        _check_not_around(quarantine, swept | single, "the quarantine")
        _check_outside(quarantine, {folder.identity(): str(folder)}, "the destination")
        if name is None:
            _check_not_around(quarantine, {folder.identity(): str(folder)}, "the quarantine")
        _check_apart(quarantine, keys, outputs | {file.folder.identity(file.key) for file in files})
    mine = [(file, key) for file, key in zip(files, keys, strict=True) if in_shard(key, shard)]

    schemas: dict[bytes, pa.Schema] = {}

    def plan(one: tuple[SourceFile, str]) -> FilePlan:
        planned = _plan_file(*one, folder, recipe, schemas, overwrite=overwrite)
        return _retried(planned, operator, retry) if retry else planned

    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        plans = list(pool.map(plan, mine))
    _check_schemas(plans, operator)
    return folder, name, plans


def _check_outside(folder: Folder, others: Mapping[str, str], what: str) -> None:
    """Refuse to write where rows would be read as a part of something else; others are paths by identity."""
    for identity, path in others.items():
        if is_below(folder.identity(), identity):
            raise DatasetError(
                str(folder), f"lies in {what} {path}", "give another place, lest it be read as a part of it"
            )


def _check_not_around(folder: Folder, others: Mapping[str, str], what: str) -> None:
    """Refuse to write around something else, unless readers leave that out; others are paths by identity."""
    home = folder.identity()
    for identity, path in others.items():
        if is_below(identity, home) and not is_hidden(identity[len(home) :].lstrip("/")):
            raise DatasetError(path, f"lies in {what} {folder}", "give another place, lest its rows be read twice")


def is_below(place: str, other: str) -> bool:
    """Whether a place is another, or lies in it; both are identities of folders."""
    return f"{place.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")


def _check_apart(quarantine: Folder, keys: Sequence[str], taken: set[str]) -> None:
    for key in keys:
        if quarantine.identity(key) in taken:
            hint = "give the quarantine a folder of its own"
            raise DatasetError(quarantine.path(key), "is a source or an output", hint)


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


def orphaned_outputs(folder: Folder, plans: Sequence[FilePlan]) -> tuple[str, ...]:
    """Outputs that were made of a file of the same source folders, which is gone."""
    planned = {plan.key for plan in plans}
    sources = {home_of(plan.source): plan.source for plan in plans}
    keys = [entry.key for entry in folder.entries() if entry.key not in planned]
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        gone = pool.map(lambda key: _has_orphaned(folder, key, sources), keys)
        return tuple(key for key, is_gone in zip(keys, gone, strict=True) if is_gone)


def _has_orphaned(folder: Folder, key: str, sources: Mapping[str, Folder]) -> bool:
    made_of = footer_of(folder, key).get(SOURCE_KEY)
    source = None if made_of is None else sources.get(made_of.decode())
    return source is not None and source.entry(key) is None


def home_of(source: Folder) -> str:
    """What an output's footer says of the folder that its source lies in: no secret, and the same for one place."""
    return hashlib.sha256(source.identity().encode()).hexdigest()[:32]


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
    standing = destination.entry(key)
    footer = {} if standing is None else footer_of(destination, key)
    action, reason = _decide(standing, footer, fingerprint, overwrite=overwrite)
    failed = int(footer.get(FAILED_KEY, b"0")) if action is Action.SKIP else 0
    return FilePlan(
        file.folder, file.entry, stamp, schema, groups, destination, key, fingerprint, action, reason, standing, failed
    )


def _retried(plan: FilePlan, operator: ClassifyEmotions, codes: Sequence[str]) -> FilePlan:
    """The plan of a file whose output stands, if rows of it failed that are to be answered again."""
    if plan.action is not Action.SKIP:
        return plan
    failed = failed_rows(read_errors(plan.destination, plan.key, operator.output_columns().error), codes)
    if not failed:
        return plan
    reason = f"{failed:,} of its rows failed, and are tried again"
    return dataclasses.replace(plan, action=Action.RETRY, reason=reason, failed=0)


def fingerprint_of(folder: Folder, key: str) -> Fingerprint | None:
    """The fingerprint in the footer of an output; None where it has none or is no Parquet file."""
    text = footer_of(folder, key).get(FINGERPRINT_KEY)
    return Fingerprint.from_json(text) if text else None


def footer_of(folder: Folder, key: str) -> Mapping[bytes, bytes]:
    """The keys and values in a file's footer; none where it is no Parquet file."""
    try:
        with folder.open(key) as opened, pq.ParquetFile(opened) as parquet:
            return parquet.metadata.metadata or {}
    except (pa.ArrowException, OSError):
        return {}


def _decide(
    standing: Entry | None, footer: Mapping[bytes, bytes], wanted: Fingerprint, *, overwrite: bool
) -> tuple[Action, str]:
    if standing is None:
        return Action.NEW, "has no output yet"
    text = footer.get(FINGERPRINT_KEY)
    have = Fingerprint.from_json(text) if text else None
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
