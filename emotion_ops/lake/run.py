"""One run of a job: plan, take the lease, compute, commit, report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from emotion_ops.errors import DatasetError, DestinationBusyError, OptionError
from emotion_ops.io.redact import redact_all
from emotion_ops.lake.contact_sheet import ContactSheet
from emotion_ops.lake.estimate import estimate
from emotion_ops.lake.fingerprint import Recipe
from emotion_ops.lake.job import Job
from emotion_ops.lake.journal import JournalIndex
from emotion_ops.lake.lease import HeldLease, hold_lease, wait_for_lease
from emotion_ops.lake.options import EnrichOptions
from emotion_ops.lake.part import part_suffix
from emotion_ops.lake.plan import DatasetPlan, plan_dataset
from emotion_ops.lake.provenance import orphaned_outputs, place_id
from emotion_ops.lake.reporting import Reporting
from emotion_ops.lake.retry import error_codes
from emotion_ops.lake.runners.base import Runner
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.base import TableOperator
from emotion_ops.reports.findings import Findings
from emotion_ops.reports.report import EnrichReport, Progress


@dataclass(frozen=True)
class EnrichRun:
    """What one call of ``enrich_dataset`` is asked to do.

    Attributes:
        sources: The sources.
        destination: A folder, or a file ending in ``.parquet`` for a single source file.
        operator: The operator, pinned.
        options: The options.
        runner: Where row groups are computed.
        on_progress: Called when a row group is finished.
    """

    sources: tuple[str, ...]
    destination: str
    operator: TableOperator
    options: EnrichOptions
    runner: Runner
    on_progress: Callable[[Progress], None]

    def execute(self) -> EnrichReport:
        """Do it; wait for another run if ``wait`` says so, and plan again after one.

        Raises:
            EmotionOpsError: See ``enrich_dataset``.
        """
        started = time.monotonic()
        codes = self._codes_to_retry()
        recipe = Recipe.create(self.operator, self.options.columns)
        while True:
            plan = self._plan(recipe, codes)
            job = self._job(plan, recipe, codes)
            reporting = self._reporting(plan, job, started)
            if self.options.dry_run:
                rows = self.options.sample_rows
                return reporting.planned(
                    estimate(plan.todo, self.operator, self.options.columns, rows) if rows else None
                )
            part = part_suffix(plan.name, self.options.shard)
            try:
                with writing(plan.folder), hold_lease(plan.folder, part) as lease:
                    if not plan.is_outdated():
                        return self._work(plan, job, reporting, lease)
            except DestinationBusyError:
                if not wait_for_lease(plan.folder, part, started + self.options.wait - time.monotonic()):
                    raise

    def _codes_to_retry(self) -> tuple[str, ...]:
        codes = error_codes(self.options.retry_errors, self.operator.error_codes)
        if codes and self.operator.on_error == "drop":
            hint = 'on_error="drop" left the failed rows out: give overwrite'
            raise OptionError("retry_errors", self.options.retry_errors, hint)
        return codes

    def _plan(self, recipe: Recipe, codes: tuple[str, ...]) -> DatasetPlan:
        plan = plan_dataset(
            self.sources,
            self.destination,
            self.operator,
            recipe,
            self.options.shard,
            overwrite=self.options.overwrite,
            retry=codes,
            quarantine=self._quarantine,
        )
        if self.options.prune and not self._is_whole(plan):
            raise OptionError("prune", True, "it applies to a whole folder: run without shard, into a folder")
        return plan

    def _is_whole(self, plan: DatasetPlan) -> bool:
        """Whether the job is about everything in the destination."""
        return self.options.shard is None and plan.name is None

    @property
    def _quarantine(self) -> Folder | None:
        return None if self.options.quarantine is None else Folder(self.options.quarantine)

    def _job(self, plan: DatasetPlan, recipe: Recipe, codes: tuple[str, ...]) -> Job:
        options = self.options
        todo = plan.todo[: options.limit]
        wanted = options.contact_sheet if options.report_page else False
        sheet = ContactSheet.choose(todo, self.operator, options.columns, wanted)
        job = Job(
            destination=str(plan.folder),
            operator=self.operator,
            columns=options.columns,
            compression=options.compression,
            row_group_rows=options.row_group_rows,
            lineage={**self.operator.lineage(), "recipe": recipe.digest},
            max_errors=options.max_errors,
            max_error_rate=options.max_error_rate,
            retry=codes,
            quarantine=self._quarantine,
            runner=self.runner,
            on_progress=self.on_progress,
            sheet=sheet,
            skipped=Findings.total(file.findings for file in plan.skipped),
        )
        job.check(plan.files)
        return job

    def _reporting(self, plan: DatasetPlan, job: Job, started: float) -> Reporting:
        return Reporting(
            source=", ".join(str(Folder(uri)) for uri in self.sources),
            folder=plan.folder,
            destination=str(Folder(self.destination)),
            part=part_suffix(plan.name, self.options.shard),
            job=job,
            plans=plan.files,
            orphaned=self._orphaned(plan),
            with_page=self.options.report_page,
            started=started,
        )

    def _orphaned(self, plan: DatasetPlan) -> tuple[str, ...]:
        if not self._is_whole(plan):
            return ()
        sources = {place_id(file.source): file.source for file in plan.files}
        return orphaned_outputs(plan.folder, {file.key for file in plan.files}, sources)

    def _work(self, plan: DatasetPlan, job: Job, reporting: Reporting, lease: HeldLease) -> EnrichReport:
        """Compute, commit and report, while the lease is held."""
        plan.folder.clear_spool()
        journals = JournalIndex.load(plan.folder)
        of_files = None if self._is_whole(plan) else {file.journal.file_home for file in plan.files}
        journals.remove_except([file.journal for file in plan.todo], of_files=of_files)
        with reporting.of_an_early_end():
            job.run(plan.todo[: self.options.limit], journals, lease.check)
            job.fill_quarantine(plan.skipped)
            lease.check()
            pruned = self._orphaned(plan) if self.options.prune else ()  # a source may have come back
            for key in pruned:
                plan.folder.delete(key)
        return reporting.finish(pruned=pruned)


@contextlib.contextmanager
def writing(folder: Folder) -> Iterator[None]:
    """Name the folder and what to do, if the disk is full or cannot be written."""
    try:
        yield
    except OSError as error:
        hint = "free some space or correct its permissions, and run again: finished row groups are kept"
        raise DatasetError(
            str(folder), f"cannot be written ({redact_all(str(error))})", hint, retryable=True
        ) from error
