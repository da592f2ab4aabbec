"""A gate before an output: held against a previous one, it is let through or kept apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from emotion_ops.errors import GateClosedError, OptionError
from emotion_ops.lake.audit.diff import DiffReport, diff_datasets
from emotion_ops.lake.enrich import Source, enrich_dataset, writing
from emotion_ops.lake.plan import is_below
from emotion_ops.lake.sources.parquet_files import find_sources
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.lake.targets.staging import Candidate
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.reports.report import EnrichReport


@dataclass(frozen=True)
class Gate:
    """What an output is held against.

    Attributes:
        compare_to: A previous output: an enriched file, folder or glob. With a candidate it may be the destination
            itself. None compares with nothing, so that a candidate passes when it is done, within its limit of failed
            rows.
        candidate: A folder that the output goes to until it has passed, apart from the destination and from
            ``compare_to``; None writes to the destination at once.
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
            hint = "give a limit too: max_flips, max_flip_rate, max_drift, max_mean_drift or min_coverage"
            raise OptionError("compare_to", self.compare_to, hint)

    @property
    def _limits(self) -> dict[str, Any]:
        named = asdict(self)
        return {name: named[name] for name in named if name.startswith(("max_", "min_")) and named[name] is not None}

    def check_places(self, destination: str) -> None:
        """Refuse an output that would be held against itself, and a candidate that would be read with another.

        Args:
            destination: Where the output goes in the end.

        Raises:
            OptionError: Two of the three places are one, or one lies in the other.
        """
        if self.candidate is None:
            if self.compare_to is not None and _overlap(self.compare_to, destination):
                hint = "it would be held against itself: give a candidate folder, or another output"
                raise OptionError("compare_to", str(Folder(self.compare_to)), hint)
            return
        for name, place in (("candidate", self.candidate), ("destination", destination)):
            if place.endswith(".parquet"):
                raise OptionError(name, str(Folder(place)), "with a candidate both are folders: give a folder")
        for name, other in (("destination", destination), ("compare_to", self.compare_to)):
            if other is not None and _overlap(self.candidate, other):
                hint = f"it is, lies in or lies around {name}={str(Folder(other))!r}: give a folder apart from it"
                raise OptionError("candidate", str(Folder(self.candidate)), hint)

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


_NOT_BEHIND_A_CANDIDATE = {
    "prune": "a candidate does not know which outputs of the destination are without source: prune without a gate",
    "retry_errors": "retried rows would stay in the candidate: retry without a gate, which changes no other row",
    "limit": "a part must not be published for the whole: enrich all of it, as many tries as that takes",
    "dry_run": "a gate needs an output: plan without one",
}


def enrich_with_gate(
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
        destination: Likewise; a folder where there is a candidate.
        operator: Likewise.
        **options: The other options of ``enrich_dataset``.

    Returns:
        What was done, and the comparison; None where nothing was there to compare with, or where an earlier run
        compared and was stopped while it let files through.

    Raises:
        GateClosedError: The output differs by more than was allowed.
        OptionError: The output would be held against itself, or is a part of one.
        DestinationConflictError: The candidate folder holds something else, or another run has written into the
            destination meanwhile.
        EmotionOpsError: As ``enrich_dataset`` does; that there is no previous output is told before any work.
    """
    if options.get("shard") is not None:
        hint = "a gate looks at the whole: enrich without shards, or compare later"
        raise OptionError("shard", options["shard"], hint)
    gate.check_places(destination)
    has_previous = _has_previous(gate, destination)
    if gate.candidate is None:
        report = enrich_dataset(source, destination, operator, **options)
        return report, gate.check(destination)
    for name, hint in _NOT_BEHIND_A_CANDIDATE.items():
        if options.get(name) is not None and options[name] is not False:
            raise OptionError(name, options[name], hint)
    candidate = Candidate(Folder(gate.candidate), Folder(destination))
    standing = {entry.key: entry for entry in candidate.destination.entries()}
    first = {**options, "dry_run": True, "sample_rows": 0, "on_progress": _tell_nobody}
    planned = enrich_dataset(source, destination, operator, **first)  # refuses what would be refused, before any work
    with writing(candidate.folder):
        candidate.claim(_keys(planned, candidate.destination))
    report = enrich_dataset(source, gate.candidate, operator, **{**options, "overwrite": True})
    keys = _keys(report, candidate.folder)
    digest = candidate.digest(keys, asdict(gate))
    difference = gate.check(gate.candidate) if has_previous and not candidate.has_passed(digest) else None
    with writing(candidate.destination):
        candidate.promote(keys, standing, digest, options.get("wait", 0.0))
    return report, difference


def _has_previous(gate: Gate, destination: str) -> bool:
    """Whether there is a previous output to compare with."""
    if gate.compare_to is None:
        return False
    if Folder(gate.compare_to).identity() == Folder(destination).identity():
        return bool(Folder(destination).entries())
    find_sources(gate.compare_to)
    return True


def _overlap(place: str, other: str) -> bool:
    """Whether one lies in the other, or is it; of a glob the folder counts that all it may find lies in."""
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


def _tell_nobody(progress: Any) -> None:
    """A dry run has no progress."""
