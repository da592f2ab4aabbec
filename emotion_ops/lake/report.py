"""What a job did and how far it has come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from emotion_ops.lake.estimate import Estimate


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

    Attributes:
        source: What was read.
        destination: What was written.
        files: Output files that were published.
        skipped: Files whose output stood already.
        vanished: Keys of outputs whose source is gone.
        pruned: Those of them that were removed.
        rows: Rows of the published files, as read.
        rows_from_journal: Those of them that an earlier run had answered.
        rows_retried: Rows that had failed in outputs that stood, and were answered again.
        images: Rows with probabilities.
        errors: Rows without, by code.
        seconds: Wall time, the model's loading included.
        model: The model's name.
        revision: The commit of a hub model, else ``sha256:`` and the hash of the weights.
        weights_sha256: Hash of the weights.
        version: This package's version.
        planned: Every file and what was decided of it.
        dry_run: Whether nothing was written.
        estimate: What a job will take; only in a dry run that has something to do.
    """

    source: str
    destination: str
    files: int
    skipped: int
    rows: int
    rows_from_journal: int
    rows_retried: int
    images: int
    errors: Mapping[str, int]
    seconds: float
    model: str
    revision: str
    weights_sha256: str
    version: str
    vanished: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    planned: tuple[PlannedFile, ...] = field(default=(), repr=False)
    dry_run: bool = False
    estimate: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain
