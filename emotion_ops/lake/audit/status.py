"""Say which files of a destination are done, in progress, stale or failed; nothing is changed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from emotion_ops.errors import DatasetError
from emotion_ops.lake.audit.metadata_dir import FoundJournal, Leftover, MetadataDir, read_metadata_dir
from emotion_ops.lake.audit.outputs import data_files, open_output_folder, read_output
from emotion_ops.lake.parquet import read_footer
from emotion_ops.lake.provenance import read_findings
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources
from emotion_ops.lake.targets.folder import Entry, Folder

_OUTCOME = ("outcome", "files", "skipped", "rows", "errors", "seconds", "operator", "lineage", "dataset")


class State(StrEnum):
    """How far a file is."""

    DONE = "done"
    CHANGED = "changed"
    IN_PROGRESS = "in_progress"
    STALE = "stale"
    WAITING = "waiting"
    WITHOUT_SOURCE = "without_source"
    NOT_ENRICHED = "not_enriched"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class FileStatus:
    """One output file that exists or is to come.

    Attributes:
        file: Its key; for a journal whose entries cannot be read, where the journal is.
        state: ``done``: it exists. ``changed``: it exists, and its source has changed since. ``without_source``: it
            exists, and its source does not. ``in_progress``: a running run computes its row groups. ``stale``: a killed
            run did, and a run with the same options continues from there. ``waiting``: it has a source and nothing
            else. ``not_enriched``, ``unreadable``: a file that ``enrich_dataset`` did not write, or that is damaged.
        note: What else there is to know, in words; may be empty.
        rows: Its rows; 0 if it does not exist.
        errors: Those of them that failed, by code, as its footer says.
        dropped: Source rows that ``on_error="drop"`` left out.
        row_groups: Row groups whose results are in the journal.
        of_row_groups: Row groups of its source; None if the source is not known.
        lineage: What made it: the operator, its model and revision, when it was finished, for example.
        source_size: Bytes of the source file that it was made of.
        source_version: What changes with every change of that file: its modification time, or its ETag.
    """

    file: str
    state: State
    note: str = ""
    rows: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    dropped: int = 0
    row_groups: int = 0
    of_row_groups: int | None = None
    lineage: Mapping[str, str] = field(default_factory=dict)
    source_size: int | None = None
    source_version: str | None = None


@dataclass(frozen=True)
class RunStatus:
    """A run by its lease.

    Attributes:
        part: The shard or file that it is about; empty for the whole destination.
        host: Its machine.
        process: Its process there.
        renewed_at: When it renewed its lease last, in seconds since 1970.
        living: Whether it may still be running.
    """

    part: str
    host: str
    process: int
    renewed_at: float
    living: bool


@dataclass(frozen=True)
class DatasetStatus:
    """The state of a destination.

    Attributes:
        destination: The destination.
        files: Every file, by key.
        runs: Every run that has a lease.
        leftovers: What killed runs left; ``clean_destination`` removes what no other run can use.
        reports: The outcome of the last run of each part (whole, shard or file), from its report.
    """

    destination: str
    files: tuple[FileStatus, ...]
    runs: tuple[RunStatus, ...]
    leftovers: tuple[Leftover, ...]
    reports: Mapping[str, Mapping[str, Any]]

    @property
    def counts(self) -> dict[str, int]:
        """Files by state."""
        return dict(sorted(Counter(file.state.value for file in self.files).items()))

    @property
    def rows(self) -> int:
        """Rows of all existing outputs."""
        return sum(file.rows for file in self.files)

    @property
    def errors(self) -> dict[str, int]:
        """Failed rows of all existing outputs, by code."""
        total: Counter[str] = Counter()
        for file in self.files:
            total.update(file.errors)
        return dict(sorted(total.items()))

    def to_dict(self) -> dict[str, Any]:
        """The status as plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {"counts": self.counts, "rows": self.rows, "errors": self.errors, **plain}


def dataset_status(
    destination: str | os.PathLike[str],
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
) -> DatasetStatus:
    """Say which files of a destination of ``enrich_dataset`` are done, in progress, stale or failed.

    Nothing is written, and no lease is taken: a run may continue at the same time. Of existing outputs only the footers
    are read.

    Args:
        destination: As it was given to ``enrich_dataset``.
        source: The same; then the status also says which source files have no output yet, or have changed.

    Raises:
        DatasetError: There is no such destination or source.
    """
    folder, name = open_output_folder(os.fspath(destination))
    sources = None if source is None else _sources(source, name)
    seen = _Destination(folder, read_metadata_dir(folder))
    files = [seen.existing(entry) for entry in data_files(folder, name)]
    known = {file.file for file in files}
    if sources is not None:
        files = [_compare_with_source(file, sources.get(file.file)) for file in files]
        files += [seen.to_come(key, one) for key, one in sources.items() if key not in known]
        known |= set(sources)
    journals = [one for one in seen.metadata.journals if one.key not in known and name in (None, one.key)]
    files += [seen.journalled(one) for one in journals]
    leases = [(found, found.lease) for found in seen.metadata.leases if found.lease]
    return DatasetStatus(
        destination=str(Folder(os.fspath(destination))),
        files=tuple(sorted(files, key=lambda file: file.file)),
        runs=tuple(
            RunStatus(found.part.removeprefix("-"), lease.host, lease.process, lease.renewed_at, found.living)
            for found, lease in leases
        ),
        leftovers=seen.metadata.leftovers,
        reports={key: outcome for key in seen.metadata.reports if (outcome := _outcome(folder, key))},
    )


@dataclass(frozen=True)
class _Destination:
    """A destination and its metadata folder: says how far each file is."""

    folder: Folder
    metadata: MetadataDir

    def existing(self, entry: Entry) -> FileStatus:
        """A file that readers see."""
        try:
            output = read_output(self.folder, entry)
        except DatasetError as error:
            return FileStatus(entry.key, State.UNREADABLE, str(error))
        if output is None or output.fingerprint is None:
            return FileStatus(entry.key, State.NOT_ENRICHED, "was not written by enrich_dataset")
        errors = {} if output.dropped else read_findings(output.footer.key_values).errors
        return FileStatus(
            file=entry.key,
            state=State.DONE,
            note="; ".join(self._note(one) for one in self.metadata.journals if one.key == entry.key),
            rows=output.rows,
            errors=dict(sorted(errors.items())),
            dropped=output.dropped,
            lineage=output.lineage,
            source_size=output.fingerprint.parts.get("source_size"),
            source_version=output.fingerprint.parts.get("source_version"),
        )

    def journalled(self, journal: FoundJournal) -> FileStatus:
        """A file that does not exist, but has a journal."""
        state = State.IN_PROGRESS if self.metadata.in_progress(journal) else State.STALE
        return FileStatus(journal.key or journal.path, state, row_groups=len(journal.row_groups))

    def to_come(self, key: str, source: SourceFile) -> FileStatus:
        """A file of the source whose output does not exist."""
        journals = [one for one in self.metadata.journals if one.key == key]
        if not journals:
            return FileStatus(key, State.WAITING)
        furthest = max(journals, key=lambda one: len(one.row_groups))
        groups = len(read_footer(source.folder, source.key).row_groups)
        return replace(self.journalled(furthest), of_row_groups=groups)

    def _note(self, journal: FoundJournal) -> str:
        groups = f"{len(journal.row_groups):,} row groups finished"
        if journal.existing == "same":
            return "its journal was not removed"
        is_retry = journal.existing == "retry"
        if self.metadata.in_progress(journal):
            return f"{'its failed rows are being retried' if is_retry else 'is being replaced'}, {groups}"
        what = "to retry its failed rows" if is_retry else "to replace it, with other options or another source"
        return f"a killed run began {what}, {groups}"


def _sources(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], name: str | None
) -> dict[str, SourceFile]:
    """The source files by the key of their output."""
    uris = [os.fspath(one) for one in ([source] if isinstance(source, str | os.PathLike) else source)]
    return {name or file.key: file for file in find_sources(uris)}


def _compare_with_source(file: FileStatus, source: SourceFile | None) -> FileStatus:
    """An existing output, compared with its present source."""
    if file.state is not State.DONE:
        return file
    if source is None:
        return replace(file, state=State.WITHOUT_SOURCE)
    now = {"size": source.entry.size, "version": source.entry.version}
    then = {"size": file.source_size, "version": file.source_version}
    changed = [f"{name} {then[name]!r}, now {value!r}" for name, value in now.items() if then[name] != value]
    if not changed:
        return file
    return replace(file, state=State.CHANGED, note="; ".join(filter(None, [f"source {', '.join(changed)}", file.note])))


def _outcome(folder: Folder, key: str) -> dict[str, Any]:
    """The most important numbers of a report; empty if it cannot be read."""
    try:
        report = json.loads(folder.read(key) or b"{}")
    except ValueError:
        return {}
    return {name: report[name] for name in _OUTCOME if name in report} if isinstance(report, dict) else {}
