"""A gate before an output: it is compared with a previous output, and published only within limits."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass
from typing import Any

from emotion_ops.errors import GateClosedError, OptionError
from emotion_ops.lake.audit.diff import diff_datasets
from emotion_ops.lake.part import part_suffix
from emotion_ops.lake.places import is_below, split_destination
from emotion_ops.lake.run import EnrichRun, writing
from emotion_ops.lake.sources.parquet_files import find_sources
from emotion_ops.lake.targets.folder import METADATA_DIR, Folder
from emotion_ops.lake.targets.staging import Staging
from emotion_ops.options import OptionGroup, at_least, fraction, number, option, optional, path
from emotion_ops.reports.comparison import DiffReport
from emotion_ops.reports.report import EnrichReport


def _difference(name: str, value: Any) -> float:
    return number(name, value, lambda one: one >= 0, "give a number of at least 0")


@dataclass(frozen=True)
class Gate(OptionGroup):
    """Compare an output with a previous one, and publish it only within limits.

    Args:
        compare_to: The previous output: an enriched file, folder or glob. With ``staging`` it may be the destination.
            None compares with nothing: with ``staging``, the output is published when it is complete.
        staging: A folder where the output is until it has passed, separate from the destination and from
            ``compare_to``. None writes to the destination directly; then a closed gate fails after publication.
        max_changes: Maximum number of rows whose category may change; see ``diff_datasets`` for all limits.
        max_change_rate: Maximum share of the compared rows whose category may change, 0 to 1.
        max_drift: Maximum change of one number.
        max_mean_drift: Maximum mean change of the numbers.
        min_coverage: Minimum share of all rows that must have been compared, 0 to 1.

    Raises:
        OptionError: There is a limit and no ``compare_to``, or the reverse.
    """

    compare_to: str | None = option(optional(path), None)
    staging: str | None = option(optional(path), None)
    max_changes: int | None = option(optional(at_least(0)), None)
    max_change_rate: float | None = option(optional(fraction), None)
    max_drift: float | None = option(optional(_difference), None)
    max_mean_drift: float | None = option(optional(_difference), None)
    min_coverage: float | None = option(optional(fraction), None)

    def __post_init__(self) -> None:
        """Refuse a gate that is always open, or always closed."""
        super().__post_init__()
        if self._limits and self.compare_to is None:
            raise OptionError("compare_to", None, f"{', '.join(self._limits)} needs an output to compare with")
        if self.compare_to is not None and not self._limits:
            hint = "give a limit too: max_changes, max_change_rate, max_drift, max_mean_drift or min_coverage"
            raise OptionError("compare_to", self.compare_to, hint)

    @property
    def _limits(self) -> dict[str, Any]:
        named = asdict(self)
        return {name: named[name] for name in named if name.startswith(("max_", "min_")) and named[name] is not None}

    def check_places(self, destination: str) -> None:
        """Refuse to compare an output with itself, and a staging folder that readers would read with other outputs.

        Args:
            destination: Where the output goes.

        Raises:
            OptionError: Two of the three places are the same, or one is in another.
        """
        if self.staging is None:
            if self.compare_to is not None and _overlap(self.compare_to, destination):
                hint = "the output would be compared with itself: give a staging folder, or another output"
                raise OptionError("compare_to", str(Folder(self.compare_to)), hint)
            return
        for name, place in (("staging", self.staging), ("destination", destination)):
            if place.endswith(".parquet"):
                raise OptionError(name, str(Folder(place)), "with staging both are folders: give a folder")
        for name, other in (("destination", destination), ("compare_to", self.compare_to)):
            if other is not None and _overlap(self.staging, other):
                hint = f"it overlaps with {name}={str(Folder(other))!r}: give a separate folder"
                raise OptionError("staging", str(Folder(self.staging)), hint)

    def compare(self, output: str) -> DiffReport | None:
        """Compare an output with the previous one; None if there is no ``compare_to``.

        Raises:
            DatasetError: One of them cannot be read.
        """
        return None if self.compare_to is None else diff_datasets(self.compare_to, output, **self._limits)

    def require(self, comparison: DiffReport | None, output: str) -> None:
        """Fail if the differences are over a limit.

        Args:
            comparison: What ``compare`` returned.
            output: What was compared.

        Raises:
            GateClosedError: They are.
        """
        if comparison is None or not comparison.exceeded:
            return
        place = str(Folder(output))
        where = f"it stays in {place}" if self.staging else f"it is published in {place}"
        raise GateClosedError(
            place,
            f"differs from {comparison.a}: {'; '.join(comparison.exceeded)}",
            f"{where}: look at it with emotion-ops diff, then raise the limit or go back to the previous options",
        )


_NOT_WITH_STAGING = {
    "prune": "a staging folder does not know which outputs of the destination have no source: prune without a gate",
    "retry_errors": "retried rows would stay in the staging folder: retry without a gate, which changes no other row",
    "limit": "a part must not be published as the whole: enrich everything, in as many runs as that takes",
}


def run_with_gate(gate: Gate, run: EnrichRun) -> EnrichReport:
    """Enrich, compare with a previous output, and publish what is within the limits.

    With a staging folder, the destination does not change until the whole output has passed; then its files appear one
    by one, each at once. The staging folder keeps its files, by which a later run knows what is finished. On a disk,
    both names are of one file, which takes no space.

    Args:
        gate: The gate.
        run: What to do.

    Returns:
        What was done, with the comparison; it is None if there was nothing to compare with, or if an earlier run
        compared and was killed while it published files.

    Raises:
        GateClosedError: The output differs by more than the gate allows.
        OptionError: The output would be compared with itself, or is a part of one.
        DestinationConflictError: The staging folder has other files, or another run has written into the destination.
        EmotionOpsError: See ``enrich_dataset``. A missing previous output is found before any work.
    """
    if run.options.shard is not None:
        hint = "a gate is for the whole output: enrich without shards, or compare later"
        raise OptionError("shard", run.options.shard, hint)
    gate.check_places(run.destination)
    has_previous = _has_previous(gate, run.destination)
    if run.options.dry_run:
        return run.execute()
    if gate.staging is None:
        report = dataclasses.replace(run.execute(), comparison=gate.compare(run.destination))
        folder, name = split_destination(run.destination)
        _publish_report(report, folder, part_suffix(name, None))
        gate.require(report.comparison, run.destination)
        return report
    for name, hint in _NOT_WITH_STAGING.items():
        value = getattr(run.options, name)
        if value is not None and value is not False:
            raise OptionError(name, value, hint)
    staging = Staging(Folder(gate.staging), Folder(run.destination))
    existing = {entry.key: entry for entry in staging.destination.entries()}
    planning = dataclasses.replace(run.options, dry_run=True, sample_rows=0)
    planned = dataclasses.replace(run, options=planning).execute()  # refuses what is refused, before any work
    with writing(staging.folder):
        staging.claim(_keys(planned, staging.destination))
    overwriting = dataclasses.replace(run.options, overwrite=True)
    report = dataclasses.replace(run, destination=gate.staging, options=overwriting).execute()
    keys = _keys(report, staging.folder)
    digest = staging.digest(keys, asdict(gate))
    if has_previous and not staging.has_passed(digest):
        report = dataclasses.replace(report, comparison=gate.compare(gate.staging))
        _publish_report(report, staging.folder)
        gate.require(report.comparison, gate.staging)
    report = dataclasses.replace(report, destination=str(staging.destination))
    with writing(staging.destination):
        staging.promote(keys, existing, digest, run.options.wait)
        _publish_report(report, staging.destination)
    return report


def _publish_report(report: EnrichReport, folder: Folder, part: str = "") -> None:
    """Write the report again, with the comparison."""
    with writing(folder):
        folder.publish_bytes(json.dumps(report.to_dict(), indent=1).encode(), f"{METADATA_DIR}/report{part}.json")


def _has_previous(gate: Gate, destination: str) -> bool:
    """Whether there is a previous output to compare with.

    Raises:
        DatasetError: ``compare_to`` is another place than the destination, and has no Parquet files.
    """
    if gate.compare_to is None:
        return False
    if Folder(gate.compare_to).identity() == Folder(destination).identity():
        return bool(Folder(destination).entries())
    find_sources(gate.compare_to)
    return True


def _overlap(place: str, other: str) -> bool:
    """Whether two places are the same, or one is in the other; a glob counts as the folder that has all its matches."""
    one, two = (_home(uri) for uri in (place, other))
    return is_below(one, two) or is_below(two, one)


def _home(uri: str) -> str:
    identity = Folder(uri).identity()
    parts = identity.split("/")
    fixed = next((number for number, part in enumerate(parts) if any(sign in part for sign in "*?[")), None)
    return identity if fixed is None else "/".join(parts[:fixed])


def _keys(report: EnrichReport, folder: Folder) -> list[str]:
    """The keys of a report's files in the folder that they go to."""
    return [file.destination.removeprefix(folder.path("")).lstrip("/") for file in report.planned]
