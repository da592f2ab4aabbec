"""The answers of finished row groups, kept beside the destination until their file is whole.

    <destination>/_emotion_ops/journal/<hash of the key>/<fingerprint>-<stamp>/<row group>.arrow

A row group's answers are its emotion columns alone, about 36 bytes a row: the images need not be copied to
remember an answer. Whoever runs a unit writes its answers; whoever finds all of a file's can compose it.
Readers of Parquet leave the folder out, for its name begins with ``_``.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass

import pyarrow as pa

from emotion_ops.lake.targets.folder import HOME, Folder

JOURNAL = f"{HOME}/journal"
KEY_OF_FILE = b"emotion_ops.key"
"""Key of the output file's key in a journal entry's metadata, for the folder's name is but its hash."""

ENTRY = re.compile(r"\d{6,}\.arrow")
"""The name of a row group's answers."""


@dataclass(frozen=True)
class Journal:
    """The journal of one output file under one fingerprint and of one untouched source; a picklable value.

    Attributes:
        destination: The folder that the output goes to.
        key: The output file's key in it.
        fingerprint: Digest of the fingerprint.
        stamp: Digest of the source's stamp.
    """

    destination: Folder
    key: str
    fingerprint: str
    stamp: str

    @property
    def file_home(self) -> str:
        """Where the journals of this output file lie, of all fingerprints, below the journals' folder."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:24]

    @property
    def home(self) -> str:
        """Where this journal lies, below the journals' folder."""
        return f"{self.file_home}/{self.fingerprint[:24]}-{self.stamp[:8]}"

    def write(self, row_group: int, answers: pa.Table) -> None:
        """Remember a row group's answers: whole, or not at all."""
        answers = answers.replace_schema_metadata({KEY_OF_FILE: self.key.encode()})
        with self.destination.spool() as path:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, answers.schema) as writer:
                writer.write_table(answers)
            self.destination.publish(path, self._key(row_group))

    def read(self, row_group: int) -> pa.Table:
        """A row group's answers."""
        with self.destination.open(self._key(row_group)) as file:
            return pa.ipc.open_file(file).read_all()

    def whole(self, row_group: int, rows: int) -> pa.Table | None:
        """A row group's answers, of so many rows; None, and the entry is removed, where it is broken."""
        try:
            answers = self.read(row_group)
        except (pa.ArrowException, OSError):
            answers = None
        if answers is not None and answers.num_rows == rows:
            return answers
        self.destination.delete(self._key(row_group))
        return None

    def remove(self) -> None:
        """Forget everything about this output file, under other fingerprints too."""
        self.destination.delete_folder(f"{JOURNAL}/{self.file_home}")

    def _key(self, row_group: int) -> str:
        return f"{JOURNAL}/{self.home}/{row_group:06d}.arrow"


@dataclass(frozen=True)
class Leftovers:
    """The journals that earlier runs left in a destination: the row groups by where they lie."""

    destination: Folder
    finished: dict[str, set[int]]

    @classmethod
    def find(cls, destination: Folder) -> Leftovers:
        """Look them up, in one listing."""
        finished: dict[str, set[int]] = defaultdict(set)
        for entry in destination.child(JOURNAL).entries(hidden=True):
            home, _, name = entry.key.rpartition("/")
            if ENTRY.fullmatch(name):  # and not what a file manager or NFS put there
                finished[home].add(int(name.removesuffix(".arrow")))
        return cls(destination, dict(finished))

    def of(self, journal: Journal) -> set[int]:
        """The row groups that a journal holds."""
        return self.finished.get(journal.home, set())

    def remove_all_but(self, journals: list[Journal], *, of_files: set[str] | None) -> None:
        """Remove what no run will go on with.

        Args:
            journals: Those that are kept.
            of_files: Only below these ``file_home``; None for any.
        """
        kept = {journal.home for journal in journals}
        for home in self.finished:
            if home not in kept and (of_files is None or home.partition("/")[0] in of_files):
                self.destination.delete_folder(f"{JOURNAL}/{home}")
