"""Enrich a Parquet dataset: plan, answer row groups into the journal, commit file by file.

    plan ──▶ units ──▶ [runner] ──▶ journal ──▶ commit ──▶ output files, each whole

Killed at any instant and run again, a job goes on from its journal. Each output carries in its footer the
fingerprint of what it was made of, so that a second run skips it, and another model or option is refused
rather than mixed in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from emotion_ops.errors import (
    ColumnNotFoundError,
    DatasetError,
    DestinationConflictError,
    ErrorBudgetExceededError,
    OptionError,
)
from emotion_ops.lake import lease
from emotion_ops.lake.commit import Composition, commit
from emotion_ops.lake.fingerprint import Recipe
from emotion_ops.lake.journal import Leftovers
from emotion_ops.lake.plan import Action, FilePlan, find_sources, fingerprint_of, in_shard, plan_file
from emotion_ops.lake.report import EnrichReport, PlannedFile, Progress
from emotion_ops.lake.runner import LocalRunner, Runner, Unit, errors_of
from emotion_ops.lake.storage import HOME, Folder, split
from emotion_ops.operators.classify import ClassifyEmotions, OnError

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def enrich_dataset(
    source: Source,
    destination: str | os.PathLike[str],
    operator: ClassifyEmotions,
    *,
    columns: str | Sequence[str] = "all",
    shard: tuple[int, int] | None = None,
    overwrite: bool = False,
    prune: bool = False,
    limit: int | None = None,
    dry_run: bool = False,
    compression: str = "zstd",
    row_group_rows: int | None = None,
    max_errors: int | None = None,
    max_error_rate: float | None = None,
    runner: Runner | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> EnrichReport:
    """Append the emotion columns to every file of a Parquet dataset.

    One output file for one source file, in the same relative place. An output appears when it is whole and
    verified, and not before. What was answered is journalled under ``_emotion_ops`` in the destination, so
    that a job that ended early goes on where it stopped; files that stand already are skipped.

    Args:
        source: A Parquet file, a folder (hive partitions keep their folders), a glob, or a list of these; local
            paths, or URIs of anything that pyarrow.fs or fsspec opens.
        destination: A folder; or a file ending in ``.parquet``, for a single source file.
        operator: The options of the table operator.
        columns: Source columns that pass through: ``"all"``, ``"none"``, a list of names, or names to leave
            out, each with ``-`` before it (``"-image"``). Partition columns are in the paths, and stay.
        shard: ``(i, n)``: only the files of shard ``i`` of ``n``, from 0. Machines with the same source and
            ``n`` share a job without talking; each file belongs to one shard by its name.
        overwrite: Replace outputs that were made of another model or other options, each at once and whole.
        prune: Remove outputs whose source file is gone; else they are reported and kept.
        limit: At most this many files in this run; the next run goes on.
        dry_run: Plan only: nothing is written, and nothing but footers read.
        compression: Parquet's compression of the outputs.
        row_group_rows: The most rows of an output's row group; None cuts them by bytes.
        max_errors: The most rows that may fail before the job stops.
        max_error_rate: The largest part of rows that may fail, 0 to 1; watched from 100 rows on, and at the end.
        runner: Who runs the row groups; None is this process.
        on_progress: Told as row groups are done.

    Returns:
        What was done.

    Raises:
        DatasetError: A source or the destination cannot be used.
        DestinationConflictError: An output was made of something else, or another run is writing here.
        ErrorBudgetExceededError: Too many rows failed. What was answered is kept in the journal, and the file
            in which it happened is not published.
        ColumnError: A file's schema does not fit the options; before any work.
        ModelError: The model cannot be used.
        RowFailedError: A row failed under ``on_error="raise"``.
    """
    started = time.monotonic()
    _check_options(shard, limit, max_errors, max_error_rate, row_group_rows)
    operator = operator.pinned()
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    uris = [os.fspath(one) for one in sources]
    passing = columns if isinstance(columns, str) else tuple(columns)
    recipe = Recipe.of(operator, passing)
    folder, job_name, plans = _plan(uris, os.fspath(destination), operator, recipe, shard, overwrite=overwrite)
    whole = shard is None and job_name is None  # the job is all that goes into this destination
    vanished = _vanished(folder, plans) if whole else ()
    part = "".join(f"-{one}" for one in (job_name, shard and "{}-of-{}".format(*shard)) if one)
    todo = [plan for plan in plans if plan.action is not Action.SKIP][:limit]
    lineage = {**operator.output_columns().lineage, "weights_sha256": recipe.parts["weights_sha256"]}
    job = _Job(
        operator=operator,
        columns=columns,
        compression=compression,
        row_group_rows=row_group_rows,
        lineage=lineage,
        max_errors=max_errors,
        max_error_rate=max_error_rate,
        runner=runner or LocalRunner(),
        on_progress=on_progress,
    )
    job.check(plans)
    if not dry_run:
        with _writing(folder), lease.hold(folder, part):
            folder.clear_spool()
            left = Leftovers.find(folder)
            mine = None if whole else {plan.journal.file_home for plan in plans}
            going_on = [plan.journal for plan in plans if plan.action is not Action.SKIP]
            left.remove_all_but(going_on, of_files=mine)
            job.run(todo, left)
            for key in vanished if prune else ():
                folder.delete(key)
    report = EnrichReport(
        source=", ".join(str(Folder(uri)) for uri in uris),
        destination=str(Folder(os.fspath(destination))),
        files=job.files,
        skipped=sum(plan.action is Action.SKIP for plan in plans),
        rows=job.rows,
        rows_from_journal=job.rows_from_journal,
        images=job.rows - job.errors.total(),
        errors=dict(sorted(job.errors.items())),
        seconds=round(time.monotonic() - started, 3),
        model=lineage["model"],
        revision=lineage["revision"],
        weights_sha256=lineage["weights_sha256"],
        version=lineage["version"],
        vanished=vanished,
        pruned=vanished if prune and not dry_run else (),
        planned=tuple(_planned(plan) for plan in plans),
        dry_run=dry_run,
    )
    if not dry_run:
        with _writing(folder):
            folder.publish_bytes(json.dumps(report.to_dict(), indent=1).encode(), f"{HOME}/report{part}.json")
    return report


@contextlib.contextmanager
def _writing(folder: Folder) -> Iterator[None]:
    """Say where it was and what to do, when the disk is full or may not be written."""
    try:
        yield
    except OSError as error:
        cure = "free some space or mend its permissions, and run again: what was answered is kept"
        raise DatasetError(str(folder), f"cannot be written ({error})", cure) from error


@dataclass
class _Job:
    """One run: its options, and what it has done so far."""

    operator: ClassifyEmotions
    columns: str | Sequence[str]
    compression: str
    row_group_rows: int | None
    lineage: dict[str, str]
    max_errors: int | None
    max_error_rate: float | None
    runner: Runner
    on_progress: Callable[[Progress], None]
    files: int = 0
    rows: int = 0
    rows_from_journal: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def check(self, plans: Sequence[FilePlan]) -> None:
        """Refuse what cannot end well, before any work."""
        refused = [plan for plan in plans if plan.action is Action.REFUSE]
        if refused:
            first, more = refused[0], f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise DestinationConflictError(
                first.destination.path(first.key) + more,
                f"stands already, made otherwise: {first.reason}",
                "choose another destination, or overwrite to make it anew",
            )
        for plan in plans:
            self._composition(plan).schema(plan.schema)

    def run(self, plans: Sequence[FilePlan], left: Leftovers) -> None:
        """Answer the row groups that the journal lacks; commit each file as its last one is answered."""
        total = sum(plan.rows for plan in plans)
        answered, failed = 0, Counter[str]()
        missing: dict[str, set[int]] = {}
        by_key = {plan.key: plan for plan in plans}
        for plan in plans:
            finished = left.of(plan.journal)
            missing[plan.key] = set(range(len(plan.row_groups))) - finished
            for group in finished:
                self.rows_from_journal += plan.row_groups[group].rows
                failed += errors_of(plan.journal.read(group))
        answered = self.rows_from_journal
        for plan in plans:
            if not missing[plan.key]:
                self._commit(plan)
        for done in self.runner.run(list(self._units(plans, missing))):
            plan = by_key[done.unit.journal.key]
            answered += done.unit.rows
            failed += done.errors
            self._check_budget(failed.total(), answered, last=False)
            missing[plan.key].discard(done.unit.row_group)
            if not missing[plan.key]:
                self._check_budget(failed.total(), answered, last=answered == total)
                self._commit(plan)
            self.on_progress(Progress(answered, total, failed.total()))

    def _units(self, plans: Sequence[FilePlan], missing: dict[str, set[int]]) -> Iterator[Unit]:
        answering: OnError = "raise" if self.operator.on_error == "raise" else "null"  # dropping is the commit's
        operator = dataclasses.replace(self.operator, on_error=answering)
        for plan in plans:
            for number in sorted(missing[plan.key]):
                group = plan.row_groups[number]
                yield Unit(plan.source, plan.entry.key, number, group.rows, group.bytes, operator, plan.journal)

    def _commit(self, plan: FilePlan) -> None:
        _, errors = commit(plan, self._composition(plan), self.lineage)
        self.files += 1
        self.rows += plan.rows
        self.errors += errors

    def _composition(self, plan: FilePlan) -> Composition:
        return Composition(
            columns=self.operator.output_columns(),
            passing=_passing(plan.schema, self.columns),
            drop_failed=self.operator.on_error == "drop",
            compression=self.compression,
            row_group_rows=self.row_group_rows,
        )

    def _check_budget(self, failed: int, answered: int, *, last: bool) -> None:
        over_number = self.max_errors is not None and failed > self.max_errors
        over_rate = (
            self.max_error_rate is not None
            and answered > 0
            and (last or answered >= 100)
            and failed / answered > self.max_error_rate
        )
        if over_number or over_rate:
            limit = f"max_errors={self.max_errors}" if over_number else f"max_error_rate={self.max_error_rate}"
            raise ErrorBudgetExceededError(
                "the job",
                f"{failed:,} of {answered:,} rows failed, more than {limit} allows",
                "mend the images, or raise the limit, and run again: what was answered is kept",
            )


def _plan(
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


def _vanished(folder: Folder, plans: Sequence[FilePlan]) -> tuple[str, ...]:
    """Outputs of this package whose source file is gone."""
    standing = {plan.key for plan in plans}
    keys = [entry.key for entry in folder.entries() if entry.key.endswith(".parquet") and entry.key not in standing]
    return tuple(key for key in keys if fingerprint_of(folder, key) is not None)


def _passing(schema: pa.Schema, columns: str | Sequence[str]) -> tuple[str, ...]:
    """The names of the columns that pass through, in the source's order."""
    if columns in ("all", "none"):
        return tuple(schema.names) if columns == "all" else ()
    wanted = [columns] if isinstance(columns, str) else list(columns)
    dropped = {name.removeprefix("-") for name in wanted if name.startswith("-")}
    kept = {name for name in wanted if not name.startswith("-")}
    if dropped and kept:
        raise OptionError("columns", columns, "name columns to keep, or columns to leave out with '-', not both")
    for name in dropped | kept:
        if name not in schema.names:
            raise ColumnNotFoundError(name, schema.names)
    return tuple(name for name in schema.names if (name in kept if kept else name not in dropped))


def _planned(plan: FilePlan) -> PlannedFile:
    return PlannedFile(
        source=plan.source.path(plan.entry.key),
        destination=plan.destination.path(plan.key),
        action=plan.action.value,
        reason=plan.reason,
        rows=plan.rows,
        bytes=plan.entry.size,
    )


def _check_options(
    shard: tuple[int, int] | None,
    limit: int | None,
    max_errors: int | None,
    max_error_rate: float | None,
    row_group_rows: int | None,
) -> None:
    if shard is not None and not (len(shard) == 2 and 0 <= shard[0] < shard[1]):
        raise OptionError("shard", shard, "give (i, n) with i from 0 to n - 1")
    for name, value, least in (
        ("limit", limit, 0),
        ("max_errors", max_errors, 0),
        ("row_group_rows", row_group_rows, 1),
    ):
        if value is not None and value < least:
            raise OptionError(name, value, f"give a whole number of at least {least}")
    if max_error_rate is not None and not 0 <= max_error_rate <= 1:
        raise OptionError("max_error_rate", max_error_rate, "give a part of the rows, 0 to 1")
