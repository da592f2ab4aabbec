"""The report of a job: made whenever the job ends, and published beside its outputs as JSON and as a page."""

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
from emotion_ops.lake.contact_sheet import Card
from emotion_ops.lake.estimate import Estimate
from emotion_ops.lake.job import Job
from emotion_ops.lake.plan import Action, FilePlan
from emotion_ops.lake.targets.folder import HOME, Folder
from emotion_ops.reports import page
from emotion_ops.reports.report import EnrichReport, PlannedFile
from emotion_ops.reports.stages import Stages

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
        plans: Every file and what is decided of it.
        orphaned: Keys of outputs whose source is gone.
        with_page: Whether a page is made.
        started: When the job started, by ``time.monotonic``.
        running_since: When all was planned, likewise.
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
        """Publish a report of what was done until then where the block raises; the error goes on as it is."""
        try:
            yield
        except DestinationBusyError:  # another run took over, and the report is its to write
            raise
        except BaseException as error:
            try:
                self.publish(self.report(f"stopped: {_words(error)}"))
            except Exception as second:  # a report that cannot be written must not hide why the job ended
                _log.warning("the report of this run could not be written: %s", reason(second))
            raise

    def finish(self, pruned: tuple[str, ...]) -> EnrichReport:
        """Publish the report of a job that ended well, and give it back.

        Raises:
            OSError: The destination cannot be written.
        """
        report = self.report("finished", pruned)
        self.publish(report, self._cards())
        return report

    def planned(self, estimate: Estimate | None) -> EnrichReport:
        """The report of a dry run."""
        return dataclasses.replace(self.report("planned"), page="", dry_run=True, estimate=estimate)

    def report(self, outcome: str, pruned: tuple[str, ...] = ()) -> EnrichReport:
        """What the job has done so far."""
        job, found = self.job, self.job.findings
        seconds = time.monotonic() - self.started
        measured = job.measured + job.meter.take()
        stages = Stages.of(measured, seconds, self.running_since - self.started)
        labels = job.operator.output_columns().labels
        means = found.mean_probabilities()
        return EnrichReport(
            outcome=outcome,
            source=self.source,
            destination=self.destination,
            files=job.files,
            skipped=sum(plan.action is Action.SKIP for plan in self.plans),
            rows=job.rows,
            rows_from_journal=job.rows_from_journal,
            rows_retried=job.rows_retried,
            rows_waiting=job.rows - job.rows_published,
            images=job.rows - found.errors.total(),
            errors=dict(sorted(found.errors.items())),
            failed_rows=tuple(sorted(found.failed, key=lambda row: row.code)),
            labels={label: found.labels[label] for label in labels},
            unsure=found.unsure,
            mean_probabilities={label: round(means[label], 6) for label in labels if label in means},
            winning_probabilities=tuple(found.winning),
            duplicates=measured.duplicates,
            duplicates_complete=measured.duplicates_complete,
            rows_recalled=measured.recalled,
            bytes_read=measured.bytes_read,
            bytes_written=job.bytes_written,
            seconds=round(seconds, 3),
            images_per_second=_rate(job.rows_computed, seconds),
            images_per_second_running=_rate(job.rows_computed, stages.running),
            stages=stages,
            limit=stages.limit(),
            started_at=(datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds"),
            model=job.lineage["model"],
            revision=job.lineage["revision"],
            weights_sha256=job.lineage["weights_sha256"],
            version=job.lineage["version"],
            failed_skipped=job.failed_skipped,
            orphaned=self.orphaned,
            pruned=pruned,
            planned=tuple(_planned(plan) for plan in self.plans),
            page=self.folder.path(self._page_key) if self.with_page else "",
        )

    def publish(self, report: EnrichReport, cards: Sequence[Card] = ()) -> None:
        """Put the report beside the outputs, in place of that of an earlier run."""
        self.folder.publish_bytes(json.dumps(report.to_dict(), indent=1).encode(), f"{HOME}/report{self.part}.json")
        if self.with_page:
            self.folder.publish_bytes(page.render(report, cards).encode(), self._page_key)
        else:
            self.folder.delete(self._page_key)  # an earlier run's would stand beside this one's numbers

    @property
    def _page_key(self) -> str:
        return f"{HOME}/report{self.part}.html"

    def _cards(self) -> Sequence[Card]:
        try:
            return self.job.sheet.cards(self.job.operator) if self.job.sheet else ()
        except (EmotionOpsError, OSError) as error:  # the source went away after its rows were answered
            _log.warning("the report has no contact sheet, since its images could not be read: %s", reason(error))
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


def _words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if not str(error):
        return type(error).__name__.lower()
    return redact_all(str(error)) if isinstance(error, EmotionOpsError) else reason(error)
