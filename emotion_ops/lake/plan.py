"""What there is to do: every source file, its row groups, and whether its output exists already."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

from emotion_ops.errors import ColumnError, ColumnNotFoundError, DatasetError
from emotion_ops.lake.fingerprint import Fingerprint, Recipe
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.parquet import ParquetReader, RowGroup, open_parquet, read_footer, read_key_values
from emotion_ops.lake.part import in_shard
from emotion_ops.lake.places import check_places, open_destination
from emotion_ops.lake.provenance import FINGERPRINT_KEY, READ_CONCURRENCY, read_findings
from emotion_ops.lake.row_errors import count_failed, read_errors
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources
from emotion_ops.lake.targets.folder import Entry, Folder
from emotion_ops.operators.base import TableOperator
from emotion_ops.reports.findings import Findings


class Action(StrEnum):
    """What happens to one source file."""

    NEW = "new"
    CHANGED = "changed"
    OVERWRITE = "overwrite"
    RETRY = "retry"
    SKIP = "skip"
    REFUSE = "refuse"


@dataclass(frozen=True)
class FilePlan:
    """One source file and what happens to it.

    Attributes:
        source: The folder that it is in.
        entry: Its identity.
        stamp: What changes with any change to it.
        schema: Its Arrow schema.
        row_groups: Its row groups, in order.
        destination: The folder that the output goes to.
        key: The output's key there.
        fingerprint: What the output would be made of.
        action: What happens.
        reason: Why, in words.
        existing: The existing output when this was planned; None if there was none.
        findings: What the results of an existing output say, if it is skipped.
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
    existing: Entry | None = None
    findings: Findings = field(default_factory=Findings, hash=False, compare=False)

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(group.rows for group in self.row_groups)

    @property
    def row_bytes(self) -> int:
        """Mean bytes of a row, stored but not compressed, in the row group where they are largest."""
        return max((group.bytes // max(1, group.rows) for group in self.row_groups), default=0)

    @property
    def source_path(self) -> str:
        """Where the source is, for messages."""
        return self.source.path(self.entry.key)

    @property
    def journal(self) -> Journal:
        """Where the results of its row groups are stored, as long as the source does not change."""
        retried = self.existing if self.action is Action.RETRY else None
        digest = self.fingerprint.digest if retried is None else self.fingerprint.retry_digest(retried)
        stamp = hashlib.sha256(str(self.stamp).encode()).hexdigest()
        return Journal(self.destination, self.key, digest, stamp)

    @contextlib.contextmanager
    def open_source(self) -> Iterator[ParquetReader]:
        """Open the source file, to read its columns by their planned positions.

        Raises:
            DatasetError: It cannot be opened, or has another schema than the plan.
        """
        with open_parquet(self.source, self.entry.key) as file:
            if not file.footer.schema.equals(self.schema):
                what = "has another schema than when it was planned"
                raise DatasetError(self.source_path, what, "run again: it is computed again", retryable=True)
            yield file


@dataclass(frozen=True)
class DatasetPlan:
    """What happens to every source file.

    Attributes:
        folder: The destination's folder.
        name: The output's name if the destination is one file.
        files: The plans, in order.
    """

    folder: Folder
    name: str | None
    files: tuple[FilePlan, ...]

    @property
    def todo(self) -> tuple[FilePlan, ...]:
        """The files whose output is not finished."""
        return tuple(plan for plan in self.files if plan.action is not Action.SKIP)

    @property
    def skipped(self) -> tuple[FilePlan, ...]:
        """The files whose output is finished."""
        return tuple(plan for plan in self.files if plan.action is Action.SKIP)

    def is_outdated(self) -> bool:
        """Whether an output changed since this was planned.

        Raises:
            DatasetError: The destination cannot be listed.
        """
        new = {plan.key for plan in self.todo if plan.action is Action.NEW}
        if new and any(entry.key in new for entry in self.folder.entries()):
            return True
        return any(self.folder.entry(p.key) != p.existing for p in self.todo if p.action is not Action.NEW)


def plan_dataset(
    uris: Sequence[str],
    destination: str,
    operator: TableOperator,
    recipe: Recipe,
    shard: tuple[int, int] | None = None,
    *,
    overwrite: bool = False,
    retry: Sequence[str] = (),
    quarantine: Folder | None = None,
) -> DatasetPlan:
    """Decide what happens to each source file.

    Args:
        uris: The sources.
        destination: A folder, or a file ending in ``.parquet`` for a single source file.
        operator: The operator.
        recipe: What all files of the job share.
        shard: Which part of the files.
        overwrite: Whether outputs that were made otherwise are replaced.
        retry: The codes of the errors whose rows are computed again in existing outputs.
        quarantine: Where failed rows go.

    Raises:
        DatasetError: There is no source, it cannot be read, or source, destination and quarantine overlap.
        ColumnError: No file has an input column, or a file's schema does not fit the operator.
    """
    files = find_sources(uris)
    folder, name, keys = open_destination(destination, files)
    check_places(files, folder, name, keys, quarantine)
    schemas: dict[bytes, pa.Schema] = {}

    def plan(file: SourceFile, key: str) -> FilePlan:
        planned = _plan_file(file, key, folder, recipe, schemas, overwrite=overwrite)
        return _plan_retry(planned, retry) if retry else planned

    chosen = [(file, key) for file, key in zip(files, keys, strict=True) if in_shard(key, shard)]
    with ThreadPoolExecutor(READ_CONCURRENCY) as pool:
        plans = tuple(pool.map(plan, *zip(*chosen, strict=True))) if chosen else ()
    _check_schemas(plans, operator)
    return DatasetPlan(folder, name, plans)


def with_missing_inputs(schema: pa.Schema, inputs: Sequence[str]) -> pa.Schema:
    """A file's schema with null columns for the inputs that it lacks; pyarrow.dataset reads such files the same way."""
    return pa.schema([*schema, *(pa.field(name, pa.null()) for name in inputs if name not in schema.names)])


def _check_schemas(plans: Sequence[FilePlan], operator: TableOperator) -> None:
    """Schemas may differ from file to file. A file that lacks an input has nulls there; one file must have it."""
    for name in operator.inputs:
        if plans and not any(name in plan.schema.names for plan in plans):
            raise ColumnNotFoundError(name, plans[0].schema.names).at(plans[0].source_path)
    checked: pa.Schema | None = None
    for plan in plans:
        if checked is not None and plan.schema.equals(checked):  # most datasets have one schema
            continue
        try:
            operator.check_schema(with_missing_inputs(plan.schema, operator.inputs))
            operator.append_to(plan.schema)
            checked = plan.schema
        except ColumnError as error:
            raise error.at(plan.source_path) from None


def _plan_file(
    file: SourceFile, key: str, destination: Folder, recipe: Recipe, schemas: dict[bytes, pa.Schema], *, overwrite: bool
) -> FilePlan:
    """Decide what happens to one file: reads its footer, and that of its existing output.

    Plans share one object for equal schemas, which are most of a plan's size: ``schemas`` has them by their digests.
    """
    stamp = file.folder.stamp(file.key)  # before anything is read
    footer = read_footer(file.folder, file.key)
    schema = schemas.setdefault(hashlib.sha256(footer.schema.serialize()).digest(), footer.schema)
    fingerprint = recipe.fingerprint(file.entry, sum(group.rows for group in footer.row_groups))
    existing = destination.entry(key)
    found = {} if existing is None else read_key_values(destination, key)
    action, reason = _decide(existing, found, fingerprint, overwrite=overwrite)
    return FilePlan(
        source=file.folder,
        entry=file.entry,
        stamp=stamp,
        schema=schema,
        row_groups=footer.row_groups,
        destination=destination,
        key=key,
        fingerprint=fingerprint,
        action=action,
        reason=reason,
        existing=existing,
        findings=read_findings(found) if action is Action.SKIP else Findings(),
    )


def _plan_retry(plan: FilePlan, codes: Sequence[str]) -> FilePlan:
    """The plan of a finished file, if rows of it failed that are to be computed again."""
    if plan.action is not Action.SKIP:
        return plan
    failed = count_failed(read_errors(plan.destination, plan.key), codes)
    if not failed:
        return plan
    reason = f"{failed:,} of its rows failed and are tried again"
    return dataclasses.replace(plan, action=Action.RETRY, reason=reason, findings=Findings())


def _decide(
    existing: Entry | None, found: Mapping[bytes, bytes], wanted: Fingerprint, *, overwrite: bool
) -> tuple[Action, str]:
    if existing is None:
        return Action.NEW, "has no output yet"
    text = found.get(FINGERPRINT_KEY)
    have = Fingerprint.from_json(text) if text else None
    if have is not None and have.digest == wanted.digest:
        return Action.SKIP, "its output exists and was made of the same"
    if have is None:
        differences = ["the output was not written by this package"]
    else:
        differences = wanted.differences(have)
        if all(difference.startswith("source_") for difference in differences):
            return Action.CHANGED, f"the source changed ({'; '.join(differences)})"
    action = Action.OVERWRITE if overwrite else Action.REFUSE
    return action, "; ".join(differences)
