"""A gate before an output: held against a previous one, it is let through or kept apart."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from typing import Any

from emotion_ops.errors import DatasetError, GateClosedError, OptionError
from emotion_ops.lake.audit.diff import DiffReport, diff_datasets
from emotion_ops.lake.enrich import Source, enrich_dataset
from emotion_ops.lake.plan import fingerprint_of
from emotion_ops.lake.reports.report import EnrichReport
from emotion_ops.lake.sources import find_sources
from emotion_ops.lake.storage import Folder
from emotion_ops.operators.classify import ClassifyEmotions


@dataclass(frozen=True)
class Gate:
    """What an output is held against.

    Attributes:
        compare_to: A previous output: an enriched file, folder or glob. It may be the destination itself. None
            compares with nothing, so that a candidate passes when it is done, within its limit of failed rows.
        candidate: A folder that the output goes to until it has passed; None writes to the destination at once.
        max_flips: As for ``diff_datasets``, and so are the others.
    """

    compare_to: str | None = None
    candidate: str | None = None
    max_flips: int | None = None
    max_flip_rate: float | None = None
    max_drift: float | None = None
    max_mean_drift: float | None = None
    min_coverage: float | None = None

    def __post_init__(self) -> None:
        """Refuse a gate that nothing, or everything, would go through."""
        if self._limits and self.compare_to is None:
            raise OptionError("compare_to", None, f"{', '.join(self._limits)} needs an output to compare with")
        if self.compare_to is not None and not self._limits:
            cure = "give a limit too: max_flips, max_flip_rate, max_drift, max_mean_drift or min_coverage"
            raise OptionError("compare_to", self.compare_to, cure)

    @property
    def _limits(self) -> dict[str, Any]:
        named = asdict(self)
        return {name: named[name] for name in named if name.startswith(("max_", "min_")) and named[name] is not None}

    def check(self, output: str) -> DiffReport | None:
        """Hold an output against the previous one; None where there is none to compare with.

        Raises:
            GateClosedError: It differs by more than was allowed.
            DatasetError: One of them cannot be read.
        """
        if self.compare_to is None:
            return None
        report = diff_datasets(self.compare_to, output, **self._limits)
        if report.exceeded:
            place = str(Folder(output))
            kept = f"it is kept in {place}" if self.candidate else f"it is published in {place}"
            raise GateClosedError(
                place,
                f"differs from {report.a}: {'; '.join(report.exceeded)}",
                f"{kept}: look at it with emotion-ops diff, then raise the limit or go back to the other model",
            )
        return report


def enrich_behind(
    gate: Gate,
    source: Source,
    destination: str,
    operator: ClassifyEmotions,
    **options: Any,
) -> tuple[EnrichReport, DiffReport | None]:
    """Enrich, compare with a previous output, and let through what is within the limits.

    With a candidate folder the destination stays as it is until the whole output has passed; then file after file
    appears in it, each at once. The candidate keeps its files, by which a later run knows what is done; on a disk
    both names are of one file, which costs no space.

    Args:
        gate: What the output is held against.
        source: As for ``enrich_dataset``.
        destination: Likewise, a folder where there is a candidate.
        operator: Likewise.
        **options: The other options of ``enrich_dataset``.

    Returns:
        What was done, and the comparison; None where nothing was there to compare with.

    Raises:
        GateClosedError: The output differs by more than was allowed.
        OptionError: The output would be held against itself, or is a part of one.
        EmotionOpsError: As ``enrich_dataset`` does; that there is no previous output is told before any work.
    """
    if options.get("shard") is not None:
        raise OptionError(
            "shard", options["shard"], "a gate looks at the whole: enrich without shards, or compare later"
        )
    has_previous = _has_previous(gate, Folder(destination))
    if gate.candidate is None:
        report = enrich_dataset(source, destination, operator, **options)
        return report, gate.check(destination)
    if options.get("prune"):
        raise OptionError(
            "prune", True, "a candidate does not know which outputs of the destination are without source"
        )
    first = {**options, "dry_run": True, "sample_rows": 0, "limit": None, "on_progress": _tell_nobody}
    enrich_dataset(source, destination, operator, **first)  # refuses what would be refused, before any work
    report = enrich_dataset(source, gate.candidate, operator, **{**options, "overwrite": True})
    difference = gate.check(gate.candidate) if has_previous else None
    promote(report, Folder(gate.candidate), Folder(destination))
    return report, difference


def _has_previous(gate: Gate, destination: Folder) -> bool:
    """Whether there is a previous output to compare with."""
    if gate.compare_to is None:
        return False
    previous = Folder(gate.compare_to)
    if previous.identity() != destination.identity():
        find_sources(gate.compare_to)
        return True
    if gate.candidate is None:
        cure = "it would be held against itself: give a candidate folder, or another output"
        raise OptionError("compare_to", gate.compare_to, cure)
    return bool(destination.entries())


def promote(report: EnrichReport, candidate: Folder, destination: Folder) -> int:
    """Publish the outputs that a job tells of from one folder into another, each at once and whole.

    Args:
        report: The job's, which says what its files are.
        candidate: Where they lie.
        destination: Where they go; a file that stands there and was made of the same is left.

    Returns:
        How many were published.

    Raises:
        OSError: One did not land; those before it did, and the next time goes on from there.
    """
    published = 0
    for file in report.planned:
        key = file.destination.removeprefix(candidate.path("")).lstrip("/")
        if candidate.entry(key) is None:  # beyond the limit of this run
            continue
        made_of = fingerprint_of(candidate, key)
        if made_of is None:
            raise DatasetError(candidate.path(key), "is no output of enrich_dataset", "run again")
        standing = fingerprint_of(destination, key)
        if standing is not None and standing.digest == made_of.digest:
            continue
        with destination.spool() as spooled:
            _fetch(candidate, key, spooled)
            destination.publish(spooled, key)
        published += 1
    return published


def _fetch(folder: Folder, key: str, target: os.PathLike[str]) -> None:
    """A file of a folder as a local file: another name for it where that is possible, else a copy."""
    if folder.is_local:
        try:
            os.link(folder.local_path(key), target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(folder.local_path(key), target)
        return
    with folder.open(key) as opened, open(target, "wb") as copy:  # noqa: PTH123
        shutil.copyfileobj(opened, copy, 8 * 2**20)


def _tell_nobody(progress: Any) -> None:
    """A dry run has no progress."""
