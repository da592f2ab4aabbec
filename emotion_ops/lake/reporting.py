"""The report of a job: published next to the outputs, as JSON and as a page, whenever the job ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from emotion_ops.errors import DestinationBusyError, EmotionOpsError
from emotion_ops.io.redact import reason, redact_all
from emotion_ops.lake.job import Job
from emotion_ops.lake.plan import Action, FilePlan
from emotion_ops.lake.targets.folder import METADATA_DIR, Folder
from emotion_ops.reports import page
from emotion_ops.reports.estimate import Estimate
from emotion_ops.reports.findings import Findings
from emotion_ops.reports.page import SheetRow
from emotion_ops.reports.report import EnrichReport, PlannedFile, Totals
from emotion_ops.reports.stages import Stages

HISTORY = f"{METADATA_DIR}/runs"
"""Where the reports of all runs are, by the time at which each started."""

_log = logging.getLogger("emotion_ops")


@dataclass
class Reporting:
    """Everything that the report of a job is made of.

    Attributes:
        source: What is read, for the report.
        folder: The destination.
        destination: What is written, for the report.
        part: What names the part of the destination that the job is about; empty for all of it.
        job: The job.
        plans: Every file and what is decided about it.
        orphaned: Keys of outputs whose source does not exist any more.
        with_page: Whether a page is made.
        started: When the job started, by ``time.monotonic``.
        running_since: When planning had ended, by the same clock.
    """

    source: str
    folder: Folder
    destination: str
    part: str
    job: Job
    plans: Sequence[FilePlan]
    orphaned: tuple[str, ...]
    with_page: bool
    started: float
    running_since: float = field(default_factory=time.monotonic)

    @contextlib.contextmanager
    def of_an_early_end(self) -> Iterator[None]:
        """Publish a report of what was done so far if the block raises; the error is raised as it is."""
        try:
            yield
        except DestinationBusyError:  # another run has taken over, and writes the report
            raise
        except BaseException as error:
            try:
                self.publish(self.report(f"stopped: {_describe(error)}"))
            except Exception as second:  # a report that cannot be written must not hide why the job ended
                _log.warning("the report of this run could not be written: %s", reason(second))
            raise

    def finish(self, pruned: tuple[str, ...]) -> EnrichReport:
        """Publish the report of a job that has finished, and return it.

        Raises:
            OSError: The destination cannot be written.
        """
        report = self.report("finished", pruned)
        self.publish(report, self._sheet_rows())
        return report

    def planned(self, estimate: Estimate | None) -> EnrichReport:
        """The report of a dry run."""
        return dataclasses.replace(self.report("planned"), page="", dry_run=True, estimate=estimate)

    def report(self, outcome: str, pruned: tuple[str, ...] = ()) -> EnrichReport:
        """What the job has done so far."""
        job, found = self.job, self.job.findings
        seconds = time.monotonic() - self.started
        measured = job.measured + job.meter.take()
        stages = Stages.from_times(measured, seconds, self.running_since - self.started)
        run = Totals.from_findings(job.files, found)
        return EnrichReport(
            outcome=outcome,
            source=self.source,
            destination=self.destination,
            operator=job.operator.name,
            lineage=job.lineage,
            dataset=self._dataset(),
            files=run.files,
            skipped=len(self._skipped),
            rows=job.rows,
            rows_from_journal=job.rows_from_journal,
            rows_retried=job.rows_retried,
            rows_waiting=job.rows - job.rows_published,
            rows_cached=measured.cached,
            errors=run.errors,
            failed_rows=tuple(sorted(found.failed_rows, key=lambda row: row.code)),
            summary=run.summary,
            bytes_read=measured.bytes_read,
            bytes_written=job.bytes_written,
            seconds=round(seconds, 3),
            rows_per_second=_rate(job.rows_computed, seconds),
            rows_per_second_running=_rate(job.rows_computed, stages.running),
            stages=stages,
            limit=stages.limit(),
            started_at=(datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds"),
            orphaned=self.orphaned,
            pruned=pruned,
            planned=tuple(_planned(plan) for plan in self.plans),
            page=self.folder.path(self._page_key) if self.with_page else "",
        )

    def publish(self, report: EnrichReport, rows: Sequence[SheetRow] = ()) -> None:
        """Put the report next to the outputs, in place of that of an earlier run, which stays in the history.

        The history has the report of every run that did something, without its list of files.
        """
        plain = report.to_dict()
        self.folder.publish_bytes(json.dumps(plain, indent=1).encode(), f"{METADATA_DIR}/report{self.part}.json")
        if not report.did_nothing:
            key = f"{HISTORY}/{report.started_at[:23].replace(':', '')}{self.part}.json"
            self.folder.publish_bytes(json.dumps({**plain, "planned": []}, indent=1).encode(), key)
        if self.with_page:
            self.folder.publish_bytes(page.render(report, rows).encode(), self._page_key)
        else:
            self.folder.delete(self._page_key)  # that of an earlier run has other numbers

    @property
    def _page_key(self) -> str:
        return f"{METADATA_DIR}/report{self.part}.html"

    @property
    def _skipped(self) -> list[FilePlan]:
        return [plan for plan in self.plans if plan.action is Action.SKIP]

    def _dataset(self) -> Totals:
        """The totals of this run and of the files that it skipped, whose footers have theirs."""
        total = Findings.total([self.job.skipped, self.job.findings])
        return Totals.from_findings(self.job.files + len(self._skipped), total)

    def _sheet_rows(self) -> Sequence[SheetRow]:
        try:
            return self.job.sheet.read(self.job.operator) if self.job.sheet else ()
        except (EmotionOpsError, OSError) as error:  # the source was removed after its rows were computed
            _log.warning("the report has no contact sheet, because its images could not be read: %s", reason(error))
            return ()


def _planned(plan: FilePlan) -> PlannedFile:
    return PlannedFile(
        source=plan.source_path,
        destination=plan.destination.path(plan.key),
        action=plan.action.value,
        reason=plan.reason,
        rows=plan.rows,
        bytes=plan.entry.size,
    )


def _rate(rows: int, seconds: float) -> float:
    return round(rows / seconds, 1) if seconds > 0 else 0.0


def _describe(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if not str(error):
        return type(error).__name__.lower()
    return redact_all(str(error)) if isinstance(error, EmotionOpsError) else reason(error)
