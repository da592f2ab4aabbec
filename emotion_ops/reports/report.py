"""What a job did, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from emotion_ops.operators.hooks import Measure
from emotion_ops.reports.comparison import DiffReport
from emotion_ops.reports.estimate import Estimate
from emotion_ops.reports.findings import FailedRow, Findings
from emotion_ops.reports.stages import Stages


@dataclass(frozen=True)
class Progress:
    """How far a job is, over all of its files.

    Attributes:
        rows_done: Rows with a result or an error, those from the journal included.
        rows_total: Rows of all files that are to be done.
        errors: Rows that failed.
    """

    rows_done: int
    rows_total: int
    errors: int


@dataclass(frozen=True)
class PlannedFile:
    """One source file and what happens to it: ``new``, ``changed``, ``overwrite``, ``retry``, ``skip``, ``refuse``."""

    source: str
    destination: str
    action: str
    reason: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Totals:
    """Numbers of all files of the dataset: those that this run worked on, and those that it skipped.

    Attributes:
        files: Files that have an output.
        rows: Rows of these files, and rows that wait in the journal.
        errors: Those of them that failed, by code; with ``on_error="drop"`` too, where the outputs do not have them.
        summary: What the operator says about the good rows; see ``EnrichReport.summary``.
    """

    files: int
    rows: int
    errors: Mapping[str, int]
    summary: tuple[Measure, ...]

    @classmethod
    def from_findings(cls, files: int, findings: Findings) -> Totals:
        """The totals of some files in which this was found."""
        return cls(files, findings.rows, dict(sorted(findings.errors.items())), tuple(findings.measures.values()))

    @property
    def failed(self) -> int:
        """Rows that failed."""
        return sum(self.errors.values())

    @property
    def good_rows(self) -> int:
        """Rows that did not fail."""
        return self.rows - self.failed

    def to_dict(self) -> dict[str, Any]:
        """The totals as plain JSON types; the summary by its names."""
        return {**_plain(self), **_counts(self)}


@dataclass(frozen=True)
class EnrichReport:
    """What a job did, or with ``dry_run`` would do.

    All numbers are of this run, but those in ``dataset``. If a job ended early, they are of the row groups that were
    finished until then: those of published files, and those that wait in the journal for the next run. It contains
    no secrets: user names, passwords and queries of URLs are left out.

    Attributes:
        outcome: ``finished``, ``planned`` (a dry run), or ``stopped: `` and why.
        source: What was read.
        destination: What was written.
        operator: The name of the operator.
        lineage: What made the values, for people: the model and its revision, for example.
        dataset: The totals of all files, the skipped ones included.
        files: Output files that were published.
        skipped: Files that were skipped, because their output exists.
        rows: Rows that were read.
        rows_from_journal: Those of them that an earlier run had finished.
        rows_waiting: Those of them that wait in the journal, because their file is not published yet.
        rows_retried: Rows that had failed in existing outputs, and were computed again.
        rows_cached: Rows that were not computed, because an equal input had been.
        errors: Rows that failed, by code.
        failed_rows: Of each code the first five rows.
        summary: What the operator says about the good rows: measures, by name in JSON. A measure that is ``per_row``
            is the sum over the good rows here, and the mean in JSON.
        bytes_read: Bytes from storage: column chunks as stored in the source, and images that paths refer to.
        bytes_written: Size of the published files.
        seconds: Wall time, planning and loading the model included.
        rows_per_second: Rows that this run computed, for each of these seconds.
        rows_per_second_running: The same, without planning and loading.
        stages: Where the time went; of the row groups that were finished.
        limit: In words, what took most of the time and what would help; empty if no row was computed.
        started_at: When it started, in UTC.
        orphaned: Keys of outputs whose source does not exist any more.
        pruned: Those of them that were removed.
        planned: Every file and what was decided about it.
        page: Where the page is; empty if there is none.
        dry_run: Whether nothing was written.
        estimate: What a job is expected to take; only in a dry run that has something to do.
        comparison: How the output differs from a previous one; only with a gate that compared them.
    """

    outcome: str
    source: str
    destination: str
    operator: str
    lineage: Mapping[str, str]
    dataset: Totals
    files: int
    skipped: int
    rows: int
    rows_from_journal: int
    rows_waiting: int
    rows_retried: int
    rows_cached: int
    errors: Mapping[str, int]
    failed_rows: tuple[FailedRow, ...]
    summary: tuple[Measure, ...]
    bytes_read: int
    bytes_written: int
    seconds: float
    rows_per_second: float
    rows_per_second_running: float
    stages: Stages
    limit: str
    started_at: str
    orphaned: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    planned: tuple[PlannedFile, ...] = field(default=(), repr=False)
    page: str = ""
    dry_run: bool = False
    estimate: Estimate | None = None
    comparison: DiffReport | None = None

    @property
    def failed(self) -> int:
        """Rows that failed."""
        return sum(self.errors.values())

    @property
    def good_rows(self) -> int:
        """Rows that did not fail."""
        return self.rows - self.failed

    @property
    def did_nothing(self) -> bool:
        """Whether the run finished without a file to publish or to remove."""
        return self.outcome == "finished" and not (self.files or self.rows or self.pruned)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types; the summary by its names."""
        comparison = None if self.comparison is None else self.comparison.to_dict()
        return {**_plain(self), "dataset": self.dataset.to_dict(), "comparison": comparison, **_counts(self)}


def shown_summary(summary: Sequence[Measure], good_rows: int) -> dict[str, dict[str, float]]:
    """A summary for readers: the values of each measure by its name, means where it is ``per_row``.

    Args:
        summary: The measures.
        good_rows: The good rows that they are about.
    """
    return {measure.name: measure.shown(good_rows) for measure in summary}


def _counts(report: Totals | EnrichReport) -> dict[str, Any]:
    summary = shown_summary(report.summary, report.good_rows)
    return {"good_rows": report.good_rows, "failed": report.failed, "summary": summary}


def _plain(value: Totals | EnrichReport) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(value)))
    return plain
