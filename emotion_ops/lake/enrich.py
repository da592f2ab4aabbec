"""Enrich a Parquet dataset: plan, answer row groups into the journal, commit file by file.

    plan ──▶ units ──▶ [runner] ──▶ journal ──▶ commit ──▶ output files, each whole

Killed at any instant and run again, a job goes on from its journal. Each output carries in its footer the
fingerprint of what it was made of, so that a second run skips it, and another model or option is refused
rather than mixed in.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from emotion_ops.errors import DatasetError, DestinationBusyError, OptionError
from emotion_ops.io.redact import redact_all
from emotion_ops.lake import lease
from emotion_ops.lake.commit import passthrough_columns
from emotion_ops.lake.contact_sheet import Sheet, holds_images
from emotion_ops.lake.estimate import estimate
from emotion_ops.lake.fingerprint import Recipe
from emotion_ops.lake.job import Job
from emotion_ops.lake.journal import Leftovers
from emotion_ops.lake.plan import Action, FilePlan, orphaned_outputs, plan_dataset
from emotion_ops.lake.reporting import Reporting
from emotion_ops.lake.retry import codes_of
from emotion_ops.lake.runners.local import LocalRunner, Runner
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.reports.report import EnrichReport, Progress

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


COMPRESSIONS = ("zstd", "snappy", "gzip", "brotli", "lz4", "none")


def enrich_dataset(
    source: Source,
    destination: str | os.PathLike[str],
    operator: ClassifyEmotions,
    *,
    columns: str | Sequence[str] = "all",
    shard: tuple[int, int] | None = None,
    overwrite: bool = False,
    prune: bool = False,
    retry_errors: bool | str | Sequence[str] = False,
    quarantine: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    sample_rows: int = 64,
    compression: str = "zstd",
    row_group_rows: int | None = None,
    max_errors: int | None = None,
    max_error_rate: float | None = None,
    wait: float = 0.0,
    report_page: bool = True,
    contact_sheet: bool | Literal["auto"] = "auto",
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
            out, each with ``-`` before it (``"-image"``). Partition columns are in the paths, and stay. A name
            that some file lacks is left out there, and read as null by whoever reads the outputs as one dataset.
        shard: ``(i, n)``: only the files of shard ``i`` of ``n``, from 0. Machines with the same source and
            ``n`` share a job without talking; each file belongs to one shard by its name.
        overwrite: Replace outputs that were made of another model or other options, each at once and whole.
        prune: Remove outputs that were made of a file of this source that is gone; else they are reported and
            kept.
        retry_errors: Answer failed rows again in the outputs that stand: True for all, or the codes of some,
            ``("unreadable", "not_found")`` say. Every other row stays as it is, and each file is replaced at once.
        quarantine: A folder that gets a table of the failed rows of each file, with the source's own columns and
            ``quarantine_source``, ``_row``, ``_code`` and ``_message``: a source that can be mended and enriched
            like any other. A file without failed rows has none. Files that are skipped get theirs if they lack it.
        limit: At most this many files in this run; the next run goes on.
        dry_run: Plan only: nothing is written. Footers are read, and a small sample is run, which tells how
            long the job will take, how much memory, how many rows will fail, and what limits it.
        sample_rows: How many rows the sample of a dry run has at the most; 0 for none.
        compression: Parquet's compression of the outputs: ``zstd``, ``snappy``, ``gzip``, ``brotli``, ``lz4`` or
            ``none``.
        row_group_rows: The most rows of an output's row group; None cuts them by bytes.
        max_errors: The most rows that may fail before the job stops.
        max_error_rate: The largest part of rows that may fail, 0 to 1, those of outputs that are skipped included;
            watched from 100 rows on, and at the end.
        wait: Seconds to wait for another run that is writing here, before this one is refused.
        report_page: Write the report as an HTML page too, beside ``report.json``.
        contact_sheet: Show up to 24 small pictures on that page. They are personal data where they show people.
            ``"auto"`` shows them only of files whose output holds the images themselves anyway, so that none
            are copied to where there were none. ``False`` shows none, ``True`` shows them of all files.
        runner: Who runs the row groups; None is this process.
        on_progress: Told as row groups are done.

    Returns:
        What was done: the same as in ``_emotion_ops/report.json`` of the destination, which is written also when
        the job ends early.

    Raises:
        DatasetError: A source or the destination cannot be used.
        DestinationConflictError: An output was made of something else.
        DestinationBusyError: Another run is writing here, or took over while this one slept.
        ErrorBudgetExceededError: Too many rows failed. What was answered is kept in the journal, and the file
            in which it happened is not published.
        ColumnError: A file's schema does not fit the options; before any work.
        ModelError: The model cannot be used.
        RowFailedError: A row failed under ``on_error="raise"``.
    """
    given = dict(locals())
    started = time.monotonic()
    _check_options(shard, limit, max_errors, max_error_rate, row_group_rows, sample_rows, wait)
    _check_page(report_page, contact_sheet)
    if compression not in COMPRESSIONS:
        raise OptionError("compression", compression, f"give one of {', '.join(COMPRESSIONS)}")
    codes = codes_of(retry_errors)
    if codes and operator.on_error == "drop":
        raise OptionError("retry_errors", retry_errors, 'on_error="drop" left the failed rows out: give overwrite')
    operator = operator.pinned()
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    uris = [os.fspath(one) for one in sources]
    recipe = Recipe.of(operator, columns)
    failed_rows = None if quarantine is None else Folder(os.fspath(quarantine))
    folder, job_name, plans = plan_dataset(
        uris,
        os.fspath(destination),
        operator,
        recipe,
        shard,
        overwrite=overwrite,
        retry=codes,
        quarantine=failed_rows,
    )
    whole = shard is None and job_name is None  # the job is all that goes into this destination
    if prune and not whole:
        raise OptionError("prune", prune, "it takes a whole folder: run it without shard, into a folder")
    orphaned = orphaned_outputs(folder, plans) if whole else ()
    part = "".join(f"-{one}" for one in (job_name, shard and "{}-of-{}".format(*shard)) if one)
    todo = [plan for plan in plans if plan.action is not Action.SKIP][:limit]
    lineage = {**operator.output_columns().lineage, "weights_sha256": recipe.parts["weights_sha256"]}
    job = Job(
        destination=str(folder),
        operator=operator,
        columns=columns,
        compression=compression,
        row_group_rows=row_group_rows,
        lineage=lineage,
        max_errors=max_errors,
        max_error_rate=max_error_rate,
        retry=codes,
        quarantine=failed_rows,
        runner=runner or LocalRunner(),
        on_progress=on_progress,
        sheet=_sheet(todo, operator.image, columns, contact_sheet) if report_page else None,
        rows_skipped=sum(plan.rows for plan in plans if plan.action is Action.SKIP),
        failed_skipped=sum(plan.failed for plan in plans if plan.action is Action.SKIP),
    )
    job.check(plans)
    reporting = Reporting(
        source=", ".join(str(Folder(uri)) for uri in uris),
        folder=folder,
        destination=str(Folder(os.fspath(destination))),
        part=part,
        job=job,
        plans=plans,
        orphaned=orphaned,
        with_page=report_page,
        started=started,
    )
    if dry_run:
        return reporting.planned(estimate(todo, operator, sample_rows) if sample_rows else None)
    try:
        with writing(folder), lease.hold(folder, part) as held:
            if not _is_outdated(todo, folder):
                folder.clear_spool()
                left = Leftovers.find(folder)
                mine = None if whole else {plan.journal.file_home for plan in plans}
                going_on = [plan.journal for plan in plans if plan.action is not Action.SKIP]
                left.remove_all_but(going_on, of_files=mine)
                with reporting.of_an_early_end():
                    job.run(todo, left, held.check)
                    job.fill_quarantine([plan for plan in plans if plan.action is Action.SKIP])
                    held.check()
                    pruned = orphaned_outputs(folder, plans) if prune else ()  # some may have come back meanwhile
                    for key in pruned:
                        folder.delete(key)
                return reporting.finish(pruned=pruned)
    except DestinationBusyError:
        if not lease.wait_for(folder, part, wait):
            raise
    left_over = max(0.0, wait - (time.monotonic() - started))
    return enrich_dataset(**{**given, "wait": left_over})  # another run did some of it since this one was planned


def _is_outdated(plans: Sequence[FilePlan], folder: Folder) -> bool:
    """Whether the outputs are others by now than when these were planned."""
    new = {plan.key for plan in plans if plan.action is Action.NEW}
    if new and any(entry.key in new for entry in folder.entries()):
        return True
    return any(folder.entry(plan.key) != plan.standing for plan in plans if plan.action is not Action.NEW)


@contextlib.contextmanager
def writing(folder: Folder) -> Iterator[None]:
    """Say where it was and what to do, when the disk is full or may not be written."""
    try:
        yield
    except OSError as error:
        hint = "free some space or mend its permissions, and run again: what was answered is kept"
        raise DatasetError(
            str(folder), f"cannot be written ({redact_all(str(error))})", hint, retryable=True
        ) from error


def _sheet(
    plans: Sequence[FilePlan], image: str, columns: str | Sequence[str], wanted: bool | Literal["auto"]
) -> Sheet | None:
    """The rows that the report shows."""
    if wanted is False:
        return None
    if wanted is True:
        return Sheet.over(plans, only_cells=False)
    copied = [plan for plan in plans if image in passthrough_columns(plan.schema, columns)]
    return Sheet.over([plan for plan in copied if holds_images(plan.schema, image)], only_cells=True)


def _check_page(report_page: bool, contact_sheet: bool | Literal["auto"]) -> None:
    if contact_sheet not in (True, False, "auto"):
        raise OptionError("contact_sheet", contact_sheet, 'give True, False or "auto"')
    if contact_sheet is True and not report_page:
        raise OptionError("contact_sheet", contact_sheet, "it is part of the page: leave report_page=True")


def _check_options(
    shard: tuple[int, int] | None,
    limit: int | None,
    max_errors: int | None,
    max_error_rate: float | None,
    row_group_rows: int | None,
    sample_rows: int,
    wait: float,
) -> None:
    if shard is not None and not (len(shard) == 2 and 0 <= shard[0] < shard[1]):
        raise OptionError("shard", shard, "give (i, n) with i from 0 to n - 1")
    for name, value, least in (
        ("limit", limit, 0),
        ("max_errors", max_errors, 0),
        ("row_group_rows", row_group_rows, 1),
        ("sample_rows", sample_rows, 0),
    ):
        if value is not None and value < least:
            raise OptionError(name, value, f"give a whole number of at least {least}")
    if not wait >= 0:
        raise OptionError("wait", wait, "give seconds, at least 0")
    if max_error_rate is not None and not 0 <= max_error_rate <= 1:
        raise OptionError("max_error_rate", max_error_rate, "give a part of the rows, 0 to 1")
