"""What a job did and how far it has come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from emotion_ops.lake.estimate import Estimate
from emotion_ops.reports.findings import FailedRow
from emotion_ops.reports.stages import Stages


@dataclass(frozen=True)
class Progress:
    """How far a job has come: rows of all its files together.

    Attributes:
        rows_done: Rows answered, those that the journal held already included.
        rows_total: Rows of all files that are to be done.
        errors: Rows that failed.
    """

    rows_done: int
    rows_total: int
    errors: int


@dataclass(frozen=True)
class PlannedFile:
    """One source file and what happens to it: ``new``, ``changed``, ``overwrite``, ``skip`` or ``refuse``."""

    source: str
    destination: str
    action: str
    reason: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class EnrichReport:
    """What a job did, or under ``dry_run`` would do.

    It covers the files that this run worked on; files that were skipped are counted, and no more. After a job
    that ended early it covers the row groups that were finished until then: those of published files, and
    those that wait in the journal for the next run. ``rows`` is always ``images`` and ``errors`` together.
    Nothing secret is in it: user names, passwords and queries of URLs are left out.

    Attributes:
        outcome: ``finished``, ``planned`` (a dry run), or ``stopped: `` and why.
        source: What was read.
        destination: What was written.
        files: Output files that were published.
        skipped: Files whose output stood already.
        orphaned: Keys of outputs whose source is gone.
        pruned: Those of them that were removed.
        failed_skipped: Failed rows of these.
        rows: Rows, as read.
        rows_from_journal: Those of them that an earlier run had answered.
        rows_waiting: Those of them that wait in the journal, since their file is not published yet.
        rows_retried: Rows that had failed in outputs that stood, and were answered again.
        images: Rows with probabilities.
        errors: Rows without, by code.
        failed_rows: Of each code the first five rows.
        labels: Rows by the label of the highest probability, for all labels of the model in its own order.
        unsure: Rows with probabilities and without a label, since none reaches ``min_probability``.
        mean_probabilities: Each label's probability averaged over the rows with probabilities; empty for none.
        winning_probabilities: Rows by their highest probability, in 20 bins of 0.05 from 0 to 1.
        duplicates: Rows that this run answered itself whose encoded image equals an earlier one's, byte for byte.
        duplicates_complete: Whether that is their number. False: there are at least so many, since more than a
            million different images were met, or several processes looked, each for itself.
        rows_recalled: Rows that this run did not compute, since an equal image had been, now or (with
            ``answer_cache_dir``) in an earlier run.
        bytes_read: Bytes from storage: column chunks as stored in the source, and images that paths point at.
        bytes_written: Size of the published files.
        seconds: Wall time, planning and the model's loading included.
        images_per_second: Rows that this run answered itself, for each of these seconds.
        images_per_second_running: The same, without planning and the model's loading.
        stages: Where the time went; of the row groups that were finished.
        limit: In words, whether decoding, storage or the network was the limit; empty where nothing ran.
        started_at: When it started, in UTC.
        model: The model's name.
        revision: The commit of a hub model, else ``sha256:`` and the hash of the weights.
        weights_sha256: Hash of the weights.
        version: This package's version.
        planned: Every file and what was decided of it.
        page: Where the page lies; empty where none was made.
        dry_run: Whether nothing was written.
        estimate: What a job will take; only in a dry run that has something to do.
    """

    outcome: str
    source: str
    destination: str
    files: int
    skipped: int
    rows: int
    rows_from_journal: int
    rows_waiting: int
    rows_retried: int
    images: int
    errors: Mapping[str, int]
    failed_rows: tuple[FailedRow, ...]
    labels: Mapping[str, int]
    unsure: int
    mean_probabilities: Mapping[str, float]
    winning_probabilities: tuple[int, ...]
    duplicates: int
    duplicates_complete: bool
    rows_recalled: int
    bytes_read: int
    bytes_written: int
    seconds: float
    images_per_second: float
    images_per_second_running: float
    stages: Stages
    limit: str
    started_at: str
    model: str
    revision: str
    weights_sha256: str
    version: str
    orphaned: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    planned: tuple[PlannedFile, ...] = field(default=(), repr=False)
    page: str = ""
    dry_run: bool = False
    estimate: Estimate | None = None
    failed_skipped: int = 0

    @property
    def failed(self) -> int:
        """Rows without probabilities."""
        return sum(self.errors.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain
