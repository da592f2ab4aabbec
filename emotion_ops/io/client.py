"""What reads and writes one folder of an object store: the interface, and what all clients share."""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

BLOCK = 4 * 2**20
"""Bytes that are read from a store in one piece."""


@dataclass(frozen=True)
class Entry:
    """A file as its store describes it.

    Attributes:
        key: Its path below the folder.
        size: Bytes.
        version: Differs after the file changed: its modification time in nanoseconds, or its ETag if it is listed
            through fsspec and the store has one.
    """

    key: str
    size: int
    version: str


class StoreClient(ABC):
    """A folder of an object store. All errors are OSErrors.

    Args:
        root: The folder's path in the store.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    @property
    @abstractmethod
    def scheme(self) -> str:
        """The scheme of the store's URIs."""

    @property
    @abstractmethod
    def has_exclusive_create(self) -> bool:
        """Whether the store itself lets exactly one of several uploads to a new key succeed."""

    def path(self, key: str) -> str:
        """A key's path in the store."""
        return posixpath.join(self.root, key) if key else self.root

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Every object below the folder, without the empty objects that represent folders."""

    @abstractmethod
    def entry(self, key: str) -> Entry | None:
        """The object at a key; None if there is none."""

    @abstractmethod
    def modified(self, key: str) -> float | None:
        """When an object was written, in seconds since 1970 by the store's clock; None if it is gone or unknown."""

    @abstractmethod
    def is_folder(self) -> bool:
        """Whether a key is below the folder."""

    @abstractmethod
    def open(self, key: str) -> pa.NativeFile:
        """Open an object for random reads."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; no error if it is gone already."""

    @abstractmethod
    def delete_folder(self, key: str) -> None:
        """Remove everything below a key; no error if it is gone already."""

    @abstractmethod
    def upload(self, source: Path, key: str, *, new: bool) -> None:
        """Upload a local file once. It becomes visible when it is complete.

        Args:
            source: The file.
            key: Where it goes.
            new: Only if no object is there, if the client has ``has_exclusive_create``.

        Raises:
            OSError: The file did not land, or it is not known whether it did.
        """

    def holds(self, source: Path, key: str) -> bool:
        """Whether the object at a key equals a local file, byte for byte."""
        try:
            entry = self.entry(key)
            if entry is None or entry.size != source.stat().st_size:
                return False
            with self.open(key) as theirs, source.open("rb") as ours:
                while mine := ours.read(BLOCK):
                    if theirs.read(len(mine)) != mine:
                        return False
        except OSError:
            return False
        return True
