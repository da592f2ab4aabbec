"""A folder of an object store through Arrow: fast, and without further packages."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from emotion_ops.io.client import Entry, StoreClient


class ArrowClient(StoreClient):
    """See ``StoreClient``.

    Args:
        filesystem: The filesystem.
        root: The folder's path in it.
    """

    has_exclusive_create = False

    def __init__(self, filesystem: pafs.FileSystem, root: str) -> None:
        super().__init__(root)
        self._filesystem = filesystem

    @property
    def scheme(self) -> str:
        """See ``StoreClient``."""
        return str(self._filesystem.type_name)

    def entries(self) -> Iterator[Entry]:
        """See ``StoreClient``."""
        selector = pafs.FileSelector(self.root, allow_not_found=True, recursive=True)
        for info in self._filesystem.get_file_info(selector):
            if info.type == pafs.FileType.File:
                yield self._entry(info, posixpath.relpath(info.path, self.root))

    def entry(self, key: str) -> Entry | None:
        """See ``StoreClient``."""
        info = self._info(self.path(key))
        return self._entry(info, key) if info.type == pafs.FileType.File else None

    def modified(self, key: str) -> float | None:
        """See ``StoreClient``."""
        info = self._info(self.path(key))
        return None if info.mtime_ns is None else info.mtime_ns / 1e9

    def is_folder(self) -> bool:
        """See ``StoreClient``."""
        return bool(self._info(self.root.rstrip("/") or "/").type == pafs.FileType.Directory)

    def open(self, key: str) -> pa.NativeFile:
        """See ``StoreClient``."""
        return self._filesystem.open_input_file(self.path(key))

    def delete(self, key: str) -> None:
        """See ``StoreClient``."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(self.path(key))

    def delete_folder(self, key: str) -> None:
        """See ``StoreClient``."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_dir(self.path(key))

    def upload(self, source: Path, key: str, *, new: bool) -> None:
        """See ``StoreClient.upload``.

        It is one call, which Ctrl-C cannot interrupt: Arrow completes an upload whose stream is left open. The call
        also returns normally if the last request failed, so the store is asked.
        """
        before = self._tag(key)
        pafs.copy_files(str(source), self.path(key), pafs.LocalFileSystem(), self._filesystem, use_threads=False)
        entry, size = self.entry(key), source.stat().st_size
        is_new = before != self._tag(key)
        if entry is None or entry.size != size or not (is_new or self.holds(source, key)):
            raise OSError(f"{self.path(key)} does not have the {size:,} bytes that were uploaded")

    def _info(self, path: str) -> pafs.FileInfo:
        [info] = self._filesystem.get_file_info([path])
        return info

    def _tag(self, key: str) -> bytes | None:
        """The ETag of the object at a key; None if there is no object, or the store has no ETags."""
        try:
            with self.open(key) as file:
                tag: bytes | None = (file.metadata() or {}).get("ETag")
                return tag
        except FileNotFoundError:
            return None

    def _entry(self, info: pafs.FileInfo, key: str) -> Entry:
        version: int | None = info.mtime_ns
        if version is not None and self.scheme == "s3":
            version -= version % 10**9  # some stores list milliseconds, but give whole seconds for a single object
        return Entry(key, info.size, str(version))
