"""What is in the metadata folder of a destination: which runs are writing, and what killed runs left."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from emotion_ops.lake.journal import ENTRY, JOURNAL, KEY_OF_FILE, Journal
from emotion_ops.lake.lease import FoundLease, find_leases
from emotion_ops.lake.part import covers
from emotion_ops.lake.provenance import read_fingerprint
from emotion_ops.lake.targets.folder import METADATA_DIR, Entry, Folder
from emotion_ops.lake.targets.spool import SpoolFile

Existing = Literal["none", "other", "same", "retry"]


@dataclass(frozen=True)
class FoundJournal:
    """The journal of one output file for one fingerprint.

    Attributes:
        home: Where it is, below the journals' folder.
        key: The output file's key; None if its entries cannot be read.
        row_groups: The row groups whose results it has.
        bytes: Its size.
        existing: The existing output of the file: ``none``; the ``same``, which was made of this journal; the one whose
            failed rows it is to ``retry``; or an ``other`` one.
    """

    home: str
    key: str | None
    row_groups: tuple[int, ...]
    bytes: int
    existing: Existing

    @property
    def path(self) -> str:
        """Where it is in the destination."""
        return f"{JOURNAL}/{self.home}"


@dataclass(frozen=True)
class Leftover:
    """Something that a killed run left.

    Attributes:
        kind: ``spool``, ``lease`` or ``journal``.
        path: Where it is in the destination; for a spool file of an object store, its path in the temporary folder.
        bytes: Its size.
        resumable: Whether the next run can continue from it: a journal of a file that is not finished.
    """

    kind: Literal["spool", "lease", "journal"]
    path: str
    bytes: int
    resumable: bool


@dataclass(frozen=True)
class MetadataDir:
    """Everything in it, by kind.

    Attributes:
        leases: Those of running and of killed runs.
        journals: Of files that are not finished, or whose run was killed when it had published them.
        spools: Files that are being written, or were when their process was killed.
        reports: The keys of the reports.
    """

    leases: tuple[FoundLease, ...]
    journals: tuple[FoundJournal, ...]
    spools: Mapping[str, SpoolFile]
    reports: tuple[str, ...]

    @property
    def living(self) -> tuple[FoundLease, ...]:
        """Leases of runs that may still be running."""
        return tuple(found for found in self.leases if found.living)

    def in_progress(self, journal: FoundJournal) -> bool:
        """Whether a running run may be writing a journal."""
        return any(journal.key is None or covers(found.part, journal.key) for found in self.living)

    @property
    def leftovers(self) -> tuple[Leftover, ...]:
        """What killed runs left."""
        return (
            *(Leftover("spool", path, found.bytes, False) for path, found in self.spools.items() if not found.in_use),
            *(Leftover("lease", found.key, found.bytes, False) for found in self.leases if not found.living),
            *(
                Leftover("journal", found.path, found.bytes, found.existing != "same")
                for found in self.journals
                if not self.in_progress(found)
            ),
        )


def read_metadata_dir(folder: Folder) -> MetadataDir:
    """Look into the metadata folder, in one listing; leases, and journals of existing outputs, are read."""
    journals: dict[str, list[Entry]] = defaultdict(list)
    reports = []
    for below in folder.child(METADATA_DIR).entries(hidden=True):
        entry = Entry(f"{METADATA_DIR}/{below.key}", below.size, below.version)
        top, _, name = below.key.rpartition("/")
        if entry.key.startswith(f"{JOURNAL}/") and ENTRY.fullmatch(name):
            journals[top.partition("/")[2]].append(entry)
        elif not top and re.fullmatch(r"report.*\.json", name):
            reports.append(entry.key)
    spools = {_spool_path(folder, found): found for found in folder.spool_files()}
    found_journals = tuple(_journal(folder, home, entries) for home, entries in sorted(journals.items()))
    return MetadataDir(tuple(find_leases(folder)), found_journals, spools, tuple(reports))


def _spool_path(folder: Folder, found: SpoolFile) -> str:
    return found.path.relative_to(folder.local_path("")).as_posix() if folder.is_local else str(found.path)


def _journal(folder: Folder, home: str, entries: list[Entry]) -> FoundJournal:
    groups = tuple(int(entry.key.rpartition("/")[2].removesuffix(".arrow")) for entry in entries)
    key = _read_key(folder, entries[0])
    existing: Existing = "none" if key is None else _existing_output(folder, key, home)
    return FoundJournal(home, key, groups, sum(entry.size for entry in entries), existing)


def _existing_output(folder: Folder, key: str, home: str) -> Existing:
    entry = folder.entry(key)
    if entry is None:
        return "none"
    fingerprint, stamp = read_fingerprint(folder, key), home.rpartition("-")[2]
    if fingerprint is not None and Journal(folder, key, fingerprint.digest, stamp).home == home:
        return "same"
    if fingerprint is not None and Journal(folder, key, fingerprint.retry_digest(entry), stamp).home == home:
        return "retry"
    return "other"


def _read_key(folder: Folder, entry: Entry) -> str | None:
    try:
        with folder.open(entry.key) as file:
            metadata: Mapping[bytes, bytes] = pa.ipc.open_file(file).schema.metadata or {}
    except (pa.ArrowException, OSError):
        return None
    key = metadata.get(KEY_OF_FILE)
    return None if key is None else key.decode()
