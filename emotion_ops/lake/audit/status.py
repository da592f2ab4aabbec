"""Say of a destination what is done, in progress, stale and failed; nothing is touched."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

import pyarrow as pa

from emotion_ops.errors import DatasetError
from emotion_ops.lake.audit.metadata_dir import Hidden, JournalFound, Leftover, look
from emotion_ops.lake.audit.outputs import data_files, open_destination, read_footer, read_output
from emotion_ops.lake.runners.local import errors_of
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources
from emotion_ops.lake.targets.folder import Entry, Folder

_OUTCOME = ("outcome", "files", "skipped", "rows", "errors", "seconds", "model", "revision", "version")


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
    """One output file, standing or to come.

    Attributes:
        file: Its key; of a journal whose entries cannot be read, where that lies.
        state: ``done``: it stands. ``changed``: it stands, and its source has changed since. ``without_source``:
            it stands, and its source is gone. ``in_progress``: a living run answers its row groups. ``stale``:
            a dead run did, and a run with the same options goes on from there. ``waiting``: it has a source and
            nothing else. ``not_enriched``, ``unreadable``: a file that is none of ours, or is broken.
        note: What else is to be known, in words; empty where nothing is.
        rows: Its rows; 0 where it does not stand.
        errors: Those of them that failed, by code.
        dropped: Source rows that ``on_error="drop"`` left out.
        row_groups: Row groups whose answers are in the journal.
        of_row_groups: Row groups of its source; None where the source is not known.
        lineage: What made it: model, revision, weights, version, when it was finished.
        source_size: Bytes of the source file that it was made of.
        source_version: What changed whenever that file did: its modification time, or its ETag.
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
        renewed_at: Its last sign of life, in seconds since 1970.
        living: Whether it may still be going.
    """

    part: str
    host: str
    process: int
    renewed_at: float
    living: bool


@dataclass(frozen=True)
class DatasetStatus:
    """How far a destination is.

    Attributes:
        destination: The destination.
        files: Every file, by key.
        runs: Every run that has a lease.
        leftovers: What dead runs left; ``clean_destination`` removes what no rerun has a use for.
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
        """Rows of all files that stand."""
        return sum(file.rows for file in self.files)

    @property
    def errors(self) -> dict[str, int]:
        """Failed rows of all files that stand, by code."""
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
    """Say of a destination of ``enrich_dataset`` what is done, in progress, stale and failed.

    Nothing is written, and no lease taken: a run may go on meanwhile. Of the files that stand the footers are
    read, and the error column where they do not rule a failed row out.

    Args:
        destination: As it was given to ``enrich_dataset``.
        source: Likewise; then it also says which source files have no output yet, or changed since.

    Raises:
        DatasetError: There is no such destination or source.
    """
    folder, name = open_destination(os.fspath(destination))
    sources = None if source is None else _sources(source, name)
    seen = _Seen(folder, look(folder))
    files = [seen.standing(entry) for entry in data_files(folder, name)]
    known = {file.file for file in files}
    if sources is not None:
        files = [_held_against(file, sources.get(file.file)) for file in files]
        files += [seen.to_come(key, one) for key, one in sources.items() if key not in known]
        known |= set(sources)
    files += [seen.journalled(one) for one in seen.hidden.journals if one.key not in known and name in (None, one.key)]
    return DatasetStatus(
        destination=str(Folder(os.fspath(destination))),
        files=tuple(sorted(files, key=lambda file: file.file)),
        runs=tuple(
            RunStatus(
                found.part.removeprefix("-"),
                found.lease.host,
                found.lease.process,
                found.lease.renewed_at,
                found.living,
            )
            for found in seen.hidden.leases
            if found.lease
        ),
        leftovers=seen.hidden.leftovers,
        reports={key: outcome for key in seen.hidden.reports if (outcome := _outcome(folder, key))},
    )


@dataclass(frozen=True)
class _Seen:
    """A destination and what its hidden folder holds: says of each file how far it is."""

    folder: Folder
    hidden: Hidden

    def standing(self, entry: Entry) -> FileStatus:
        """A file that readers see."""
        try:
            output = read_output(self.folder, entry)
            if output is None or output.fingerprint is None:
                return FileStatus(entry.key, State.NOT_ENRICHED, "was not written by enrich_dataset")
            errors: Counter[str] = Counter()
            for batch in output.failed_rows():
                errors += errors_of(pa.Table.from_batches([batch]))
        except DatasetError as error:
            return FileStatus(entry.key, State.UNREADABLE, str(error))
        return FileStatus(
            file=entry.key,
            state=State.DONE,
            note="; ".join(self._of_journal(one) for one in self.hidden.journals if one.key == entry.key),
            rows=output.rows,
            errors=dict(sorted(errors.items())),
            dropped=max(0, output.dropped),
            lineage=output.lineage,
            source_size=output.fingerprint.parts.get("source_size"),
            source_version=output.fingerprint.parts.get("source_version"),
        )

    def journalled(self, journal: JournalFound) -> FileStatus:
        """A file that does not stand, but has a journal."""
        state = State.IN_PROGRESS if self.hidden.in_progress(journal) else State.STALE
        return FileStatus(journal.key or journal.path, state, row_groups=len(journal.row_groups))

    def to_come(self, key: str, source: SourceFile) -> FileStatus:
        """A file of the source that does not stand."""
        journals = [one for one in self.hidden.journals if one.key == key]
        if not journals:
            return FileStatus(key, State.WAITING)
        furthest = max(journals, key=lambda one: len(one.row_groups))
        groups = len(read_footer(source.folder, source.key).rows)
        return replace(self.journalled(furthest), of_row_groups=groups)

    def _of_journal(self, journal: JournalFound) -> str:
        groups = f"{len(journal.row_groups):,} row groups answered"
        if journal.output == "same":
            return "its journal was not removed"
        retried = journal.output == "retry"
        if self.hidden.in_progress(journal):
            return f"{'its failed rows are being retried' if retried else 'is being made anew'}, {groups}"
        what = "to retry its failed rows" if retried else "it anew, of other options or another source"
        return f"a dead run began {what}, {groups}"


def _sources(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], name: str | None
) -> dict[str, SourceFile]:
    """The source files by the key of their output."""
    uris = [os.fspath(one) for one in ([source] if isinstance(source, str | os.PathLike) else source)]
    return {name or file.key: file for file in find_sources(uris)}


def _held_against(file: FileStatus, source: SourceFile | None) -> FileStatus:
    """A file that stands, with its source as it is now."""
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
    """What a report says in short; empty where it cannot be read."""
    try:
        report = json.loads(folder.read(key) or b"{}")
    except ValueError:
        return {}
    return {name: report[name] for name in _OUTCOME if name in report} if isinstance(report, dict) else {}
