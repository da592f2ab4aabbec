"""The results of finished row groups, stored in the destination until their file is complete.

    <destination>/_emotion_ops/journal/<hash of the key>/<fingerprint>-<stamp>/<row group>.arrow

An entry has the appended columns of one row group and nothing else: inputs need not be copied to keep their results.
The process that computes a row group writes its entry. Any process can write a file whose entries are complete. Readers
of Parquet skip the folder, since its name begins with ``_``.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass

import pyarrow as pa

from emotion_ops.lake.targets.folder import METADATA_DIR, Folder

JOURNAL = f"{METADATA_DIR}/journal"
KEY_OF_FILE = b"emotion_ops.key"
"""Key of the output file's key in the metadata of an entry; the folder's name has only its hash."""

ENTRY = re.compile(r"\d{6,}\.arrow")
"""The name of an entry."""


@dataclass(frozen=True)
class Journal:
    """The journal of one output file, for one fingerprint and one state of its source; a picklable value.

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
        """The folder of all journals of this output file, below ``JOURNAL``."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:24]

    @property
    def home(self) -> str:
        """The folder of this journal, below ``JOURNAL``."""
        return f"{self.file_home}/{self.fingerprint[:24]}-{self.stamp[:8]}"

    def write(self, row_group: int, results: pa.Table) -> None:
        """Store the results of a row group: complete, or not at all."""
        results = results.replace_schema_metadata({KEY_OF_FILE: self.key.encode()})
        with self.destination.spool() as path:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, results.schema) as writer:
                writer.write_table(results)
            self.destination.publish(path, self._key(row_group))

    def read(self, row_group: int) -> pa.Table:
        """The results of a row group.

        Raises:
            OSError: The entry is gone or cannot be read.
        """
        data = self.destination.read(self._key(row_group))
        if data is None:
            raise FileNotFoundError(self.destination.path(self._key(row_group)))
        return pa.ipc.open_file(pa.BufferReader(data)).read_all()

    def read_if_intact(self, row_group: int, rows: int) -> pa.Table | None:
        """The results of a row group of so many rows; None if the entry is damaged, so that it is computed again."""
        try:
            results = self.read(row_group)
        except (pa.ArrowException, OSError):
            return None
        return results if results.num_rows == rows else None

    def remove(self) -> None:
        """Remove every journal of this output file, also those for other fingerprints."""
        self.destination.delete_folder(f"{JOURNAL}/{self.file_home}")

    def _key(self, row_group: int) -> str:
        return f"{JOURNAL}/{self.home}/{row_group:06d}.arrow"


@dataclass(frozen=True)
class JournalIndex:
    """The journals that earlier runs left in a destination: the finished row groups by journal."""

    destination: Folder
    finished: dict[str, set[int]]

    @classmethod
    def load(cls, destination: Folder) -> JournalIndex:
        """List them, once."""
        finished: dict[str, set[int]] = defaultdict(set)
        for entry in destination.child(JOURNAL).entries(hidden=True):
            home, _, name = entry.key.rpartition("/")
            if ENTRY.fullmatch(name):  # file managers and NFS leave other files
                finished[home].add(int(name.removesuffix(".arrow")))
        return cls(destination, dict(finished))

    def row_groups(self, journal: Journal) -> set[int]:
        """The row groups that a journal has."""
        return self.finished.get(journal.home, set())

    def remove_except(self, journals: list[Journal], *, of_files: set[str] | None) -> None:
        """Remove journals that no run will continue.

        Args:
            journals: Those to keep.
            of_files: Only of files with these ``file_home``; None for any.
        """
        keep = {journal.home for journal in journals}
        for home in self.finished:
            if home not in keep and (of_files is None or home.partition("/")[0] in of_files):
                self.destination.delete_folder(f"{JOURNAL}/{home}")
