"""What lies in a destination's hidden folder: who is writing, and what earlier runs left."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from emotion_ops.lake import lease
from emotion_ops.lake.journal import ENTRY, JOURNAL, KEY_OF_FILE, Journal
from emotion_ops.lake.plan import fingerprint_of, in_shard
from emotion_ops.lake.targets.folder import HOME, SPOOL, Entry, Folder, spooled_by_the_living

Standing = Literal["none", "another", "same", "retry"]


@dataclass(frozen=True)
class JournalFound:
    """The journal of one output file under one fingerprint.

    Attributes:
        home: Where it lies, below the journals' folder.
        key: The output file's key; None where its entries cannot be read.
        row_groups: The row groups that it holds answers of.
        bytes: What it takes.
        output: What stands at the output's place: ``none``; the ``same``, made of this journal; the one whose
            failed rows it is to ``retry``; or ``another``.
    """

    home: str
    key: str | None
    row_groups: tuple[int, ...]
    bytes: int
    output: Standing

    @property
    def path(self) -> str:
        """Where it lies in the destination."""
        return f"{JOURNAL}/{self.home}"


@dataclass(frozen=True)
class SpoolFound:
    """A spool file, and whether whoever writes it may still be going."""

    entry: Entry
    living: bool


@dataclass(frozen=True)
class Leftover:
    """Something that a dead run left.

    Attributes:
        kind: ``spool``, ``lease`` or ``journal``.
        path: Where it lies in the destination.
        bytes: What it takes.
        resumable: Whether a rerun can go on from it: a journal of a file that is not finished.
    """

    kind: Literal["spool", "lease", "journal"]
    path: str
    bytes: int
    resumable: bool


@dataclass(frozen=True)
class Hidden:
    """All of it, by kind.

    Attributes:
        leases: Those of the living and the dead.
        journals: Of files that are not finished, or whose run died as it finished them.
        spools: Files that are being written, or were when their process died.
        reports: The reports' keys.
    """

    leases: tuple[lease.Found, ...]
    journals: tuple[JournalFound, ...]
    spools: tuple[SpoolFound, ...]
    reports: tuple[str, ...]

    @property
    def living(self) -> tuple[lease.Found, ...]:
        """Leases of runs that may still be going."""
        return tuple(found for found in self.leases if found.living)

    def in_progress(self, journal: JournalFound) -> bool:
        """Whether a living run may be writing a journal."""
        return any(journal.key is None or _covers(found.part, journal.key) for found in self.living)

    @property
    def leftovers(self) -> tuple[Leftover, ...]:
        """What dead runs left."""
        return (
            *(Leftover("spool", found.entry.key, found.entry.size, False) for found in self.spools if not found.living),
            *(Leftover("lease", found.key, found.bytes, False) for found in self.leases if not found.living),
            *(
                Leftover("journal", found.path, found.bytes, found.output != "same")
                for found in self.journals
                if not self.in_progress(found)
            ),
        )


def look(folder: Folder) -> Hidden:
    """Look into the hidden folder, in one listing; leases, and journals of outputs that stand, are read."""
    journals: dict[str, list[Entry]] = defaultdict(list)
    spools, reports = [], []
    for below in folder.child(HOME).entries(hidden=True):
        entry = Entry(f"{HOME}/{below.key}", below.size, below.version)
        top, _, name = below.key.rpartition("/")
        if entry.key.startswith(f"{JOURNAL}/") and ENTRY.fullmatch(name):
            journals[top.partition("/")[2]].append(entry)
        elif entry.key.startswith(f"{SPOOL}/") and name.endswith(".tmp"):
            with contextlib.suppress(FileNotFoundError):  # finished since it was listed
                living = folder.is_local and spooled_by_the_living(folder.local_path(entry.key))
                spools.append(SpoolFound(entry, living))
        elif not top and re.fullmatch(r"report.*\.json", name):
            reports.append(entry.key)
    found_journals = tuple(_journal(folder, home, entries) for home, entries in sorted(journals.items()))
    return Hidden(tuple(lease.find(folder)), found_journals, tuple(spools), tuple(reports))


def _covers(part: str, key: str) -> bool:
    """Whether an output file is in the part of the job that a lease is about."""
    name = part.removeprefix("-")
    shard = re.fullmatch(r"(\d+)-of-(\d+)", name)
    if shard:
        return in_shard(key, (int(shard[1]), int(shard[2])))
    return name in ("", key)


def _journal(folder: Folder, home: str, entries: list[Entry]) -> JournalFound:
    groups = tuple(int(entry.key.rpartition("/")[2].removesuffix(".arrow")) for entry in entries)
    key = _key_of(folder, entries[0])
    standing: Standing = "none" if key is None else _standing(folder, key, home)
    return JournalFound(home, key, groups, sum(entry.size for entry in entries), standing)


def _standing(folder: Folder, key: str, home: str) -> Standing:
    entry = folder.entry(key)
    if entry is None:
        return "none"
    made_of, stamp = fingerprint_of(folder, key), home.rpartition("-")[2]
    if made_of is not None and Journal(folder, key, made_of.digest, stamp).home == home:
        return "same"
    if made_of is not None and Journal(folder, key, made_of.retry_digest(entry), stamp).home == home:
        return "retry"
    return "another"


def _key_of(folder: Folder, entry: Entry) -> str | None:
    try:
        with folder.open(entry.key) as file:
            metadata: Mapping[bytes, bytes] = pa.ipc.open_file(file).schema.metadata or {}
    except (pa.ArrowException, OSError):
        return None
    key = metadata.get(KEY_OF_FILE)
    return None if key is None else key.decode()
