"""One folder of a disk or of an object store: list it, read it, and publish complete files into it.

A file is first written to a spool file, where it can be verified, and then published: renamed on a disk, uploaded in
one piece to an object store. Readers of the folder see complete files only.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import posixpath
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from emotion_ops.errors import DatasetError, RowError
from emotion_ops.io.client import Entry as Entry
from emotion_ops.io.redact import redact, redact_all
from emotion_ops.io.stores import ObjectStore, open_store
from emotion_ops.io.uri import parse
from emotion_ops.lake.targets.spool import (
    SpoolFile,
    find_spools,
    spool_file,
    temporary_home,
    temporary_spool_file,
)

METADATA_DIR = "_emotion_ops"
"""The folder in a destination for everything but data. Readers skip it, since its name begins with ``_``."""

SPOOL = f"{METADATA_DIR}/spool"
_READ_TRIES = 4
_READ_PAUSE = 0.2
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_TICK = 20_000_000  # nanoseconds; file systems use the time of the kernel's last tick, up to 10 ms ago


@dataclass(frozen=True)
class Folder:
    """A folder of a disk or an object store; a picklable value, opened where it is used.

    Attributes:
        uri: A local path or a URI; a ``file:`` URI becomes a local path. s3, gs, abfs and hdfs open through
            pyarrow.fs; every other scheme, and those with ``fsspec+`` before them, through fsspec. Credentials come
            from the usual places.
    """

    uri: str

    def __post_init__(self) -> None:
        """Turn a ``file:`` URI into its path."""
        object.__setattr__(self, "uri", local_path_of(self.uri))

    def __str__(self) -> str:
        """The URI without its secrets."""
        return redact(self.uri)

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk, where files are published by renaming."""
        return isinstance(self._opened, Path)

    @property
    def has_exclusive_create(self) -> bool:
        """Whether exactly one of several processes can publish at a new key at the same time."""
        return isinstance(self._opened, Path) or self._opened.has_exclusive_create

    @property
    def _opened(self) -> Path | ObjectStore:
        return _open(self.uri, os.getpid())

    @property
    def _store(self) -> ObjectStore:
        opened = self._opened
        if isinstance(opened, Path):
            raise TypeError(f"{self} is not an object store")
        return opened

    def child(self, key: str) -> Folder:
        """A folder below this one."""
        base, question, options = self.uri.partition("?") if "://" in self.uri else (self.uri, "", "")
        return Folder(f"{base.rstrip('/')}/{key}{question}{options}") if key else self

    def path(self, key: str) -> str:
        """Where a key is, for messages and for programs that open it."""
        return f"{str(self).rstrip('/')}/{key}" if key else str(self)

    def identity(self, key: str = "") -> str:
        """The same text for all spellings of one place: the real path on a disk, else scheme and path."""
        opened = self._opened
        if isinstance(opened, Path):
            return str((opened / key).resolve())
        return posixpath.join(opened.identity(self.uri), key) if key else opened.identity(self.uri)

    def local_path(self, key: str) -> Path:
        """The path of a key on the local disk.

        Raises:
            TypeError: The folder is not on a local disk.
        """
        opened = self._opened
        if not isinstance(opened, Path):
            raise TypeError(f"{self} is not on a local disk")
        return opened / key

    def entries(self, *, hidden: bool = False) -> list[Entry]:
        """Every file at any depth, sorted by key; hidden files (see ``is_hidden``) only if asked for.

        Raises:
            DatasetError: The folder cannot be listed.
        """
        opened = self._opened
        try:
            entries = list(_entries(opened) if isinstance(opened, Path) else opened.entries())
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(
                str(self),
                f"cannot be listed ({redact_all(str(error))})",
                "check the path, its permissions, and that names are UTF-8",
                retryable=isinstance(error, OSError),
            ) from error
        return sorted((e for e in entries if hidden or not is_hidden(e.key)), key=lambda entry: entry.key)

    def entry(self, key: str) -> Entry | None:
        """The file at a key; None if there is none."""
        if not self.is_local:
            return self._store.entry(key)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = self.local_path(key).stat()
            return Entry(key, found.st_size, str(found.st_mtime_ns)) if stat.S_ISREG(found.st_mode) else None
        return None

    def modified(self, key: str) -> float | None:
        """When a file was written, in seconds since 1970 by the store's clock; None if it is gone or unknown."""
        if not self.is_local:
            return self._store.modified(key)
        with contextlib.suppress(FileNotFoundError):
            return self.local_path(key).stat().st_mtime
        return None

    def stamp(self, key: str) -> str | None:
        """A text that differs after any change to a file; None if there is no file.

        On a disk it includes the time of the last change of any kind, which programs cannot set: another file could be
        put in its place with the same size and modification time. If a file changed a moment ago, this waits, since a
        second change within the same tick of the clock would not show.
        """
        if not self.is_local:
            entry = self.entry(key)
            return None if entry is None else f"{entry.size} {entry.version}"
        path = self.local_path(key)
        try:
            age = time.time_ns() - path.stat().st_ctime_ns
            if 0 <= age < _TICK:
                time.sleep((_TICK - age) / 1e9)
            status = path.stat()
        except OSError:
            return None
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"

    def is_folder(self) -> bool:
        """Whether the folder exists (in an object store: whether a key is below it)."""
        return self.local_path("").is_dir() if self.is_local else self._store.is_folder()

    def open(self, key: str) -> pa.NativeFile:
        """Open a file for random reads."""
        if self.is_local:
            return pafs.LocalFileSystem().open_input_file(str(self.local_path(key)))
        return self._store.open(key)

    def read(self, key: str) -> bytes | None:
        """The content of a small file; None if there is none.

        If a file is removed while it is read, or if the store is busy, Arrow's S3 raises an internal failure, which it
        does not retry: the store's error message is longer than the range that was requested.

        Raises:
            OSError: It cannot be read.
        """
        for attempt in range(_READ_TRIES):
            try:
                with self.open(key) as file:
                    data: bytes = file.read()
                    return data
            except FileNotFoundError:
                return None
            except OSError:
                if self.entry(key) is None:
                    return None
                if attempt + 1 == _READ_TRIES:
                    raise
                time.sleep(_READ_PAUSE * 2**attempt)
        return None

    def delete(self, key: str) -> None:
        """Remove a file; no error if it is gone already."""
        if self.is_local:
            self.local_path(key).unlink(missing_ok=True)
        else:
            self._store.delete(key)

    def delete_folder(self, key: str) -> None:
        """Remove a folder and everything in it; no error if it is gone already."""
        if self.is_local:
            with contextlib.suppress(FileNotFoundError):
                pafs.LocalFileSystem().delete_dir(str(self.local_path(key)))
        else:
            self._store.delete_folder(key)

    def spool(self) -> AbstractContextManager[Path]:
        """A local file to write into before ``publish``; it is removed after the block. See ``targets.spool``."""
        return spool_file(self.local_path(SPOOL)) if self.is_local else temporary_spool_file()

    def spool_files(self) -> list[SpoolFile]:
        """Spool files of running and killed runs: in the folder, or for an object store in the temporary folder."""
        return find_spools(self.local_path(SPOOL) if self.is_local else temporary_home())

    def clear_spool(self) -> None:
        """Remove spool files that killed runs left."""
        for found in self.spool_files():
            if not found.in_use:
                found.path.unlink(missing_ok=True)

    def publish(self, spooled: Path, key: str, *, new: bool = False) -> None:
        """Put a finished spool file at its final key: it appears there complete, or not at all.

        On a disk: fsync, rename, fsync of the folder. In an object store: one upload that becomes visible when it is
        complete. After an unclear response the store is asked whether the upload landed before it is tried again.

        Args:
            spooled: The file.
            key: Where it goes.
            new: Only if no file is there; ``has_exclusive_create`` says how certain that is.

        Raises:
            FileExistsError: With ``new``, another file is there.
            OSError: The file did not land.
        """
        if not self.is_local:
            self._store.put(spooled, key, new=new)
            return
        target = self.local_path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        _fsync(spooled)
        if new:
            _link(spooled, target)
        else:
            spooled.replace(target)
        _fsync(target.parent)

    def publish_bytes(self, data: bytes, key: str, *, new: bool = False) -> None:
        """Put a small file at its key; see ``publish``."""
        with self.spool() as path:
            path.write_bytes(data)
            self.publish(path, key, new=new)


def local_path_of(uri: str) -> str:
    """A ``file:`` URI as a local path, percent-escapes decoded; any other text unchanged.

    Raises:
        DatasetError: It names another machine.
    """
    if uri[:6].lower() != "file:/":
        return uri
    try:
        return str(parse(uri))
    except RowError as error:
        raise DatasetError(redact(uri), f"is not a local path ({error.detail})", "give file:///path") from error


def split_uri(uri: str) -> tuple[Folder, str]:
    """The URI of a file as its folder and its name."""
    uri = local_path_of(uri)
    base, question, options = uri.partition("?") if "://" in uri else (uri, "", "")
    head, _, name = base.rstrip("/").rpartition("/")
    return Folder(f"{head or ('/' if base.startswith('/') else '.')}{question}{options}"), name


def is_hidden(key: str) -> bool:
    """Whether readers skip a file: a part of its path begins with ``.`` or ``_``."""
    return any(part.startswith((".", "_")) for part in key.split("/"))


def is_parquet(key: str) -> bool:
    """Whether a file belongs to a dataset, by the end of its name."""
    return key.lower().endswith((".parquet", ".parq", ".pq"))


@functools.lru_cache(maxsize=64)
def _open(uri: str, process: int) -> Path | ObjectStore:
    """A local path, or an object store; forked children get clients of their own."""
    if "://" not in uri:
        return Path(uri).expanduser().absolute()
    try:
        return open_store(uri)
    except (ImportError, ValueError, pa.ArrowException) as error:
        raise DatasetError(
            redact(uri), f"cannot be opened ({redact_all(str(error))})", "check the scheme and install its package"
        ) from error


def _entries(root: Path) -> Iterator[Entry]:
    found = pafs.LocalFileSystem().get_file_info(pafs.FileSelector(str(root), allow_not_found=True, recursive=True))
    for info in found:
        if info.type == pafs.FileType.File:
            yield Entry(posixpath.relpath(info.path, root), info.size, str(info.mtime_ns))


def _link(spooled: Path, target: Path) -> None:
    """Give a file its final name if no file has it; the kernel lets exactly one process succeed."""
    try:
        target.hardlink_to(spooled)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if target.exists():  # without hard links, the later of two at the same instant wins
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        spooled.replace(target)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
