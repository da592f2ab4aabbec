"""One folder of a disk or of an object store: list it, read it, and publish whole files into it.

A file is made in a spool file first, where it can be verified, and then published: renamed on a disk,
uploaded in one piece to an object store. Readers of the folder meet whole files only.
"""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from emotion_ops.errors import DatasetError
from emotion_ops.images.location import redact

_ARROW_SCHEMES = {
    "s3": "s3",
    "s3a": "s3",
    "s3n": "s3",
    "gs": "gs",
    "gcs": "gcs",
    "abfs": "abfs",
    "abfss": "abfss",
    "hdfs": "hdfs",
}
HOME = "_emotion_ops"
"""The folder in a destination that holds what is no data: readers leave it out, for its name begins with ``_``."""

SPOOL = f"{HOME}/spool"
_DAY = 86_400.0
_TICK = 20_000_000  # nanoseconds; file systems take the time of the kernel's last tick, at most 10 ms ago
_TRIES = 4
_PAUSE = 0.2


@dataclass(frozen=True)
class Entry:
    """A file as its store describes it.

    Attributes:
        key: Its path below the folder.
        size: Bytes.
        version: What changes when the file does: its modification time in nanoseconds, and its ETag where
            the store tells it.
    """

    key: str
    size: int
    version: str


@dataclass(frozen=True)
class Folder:
    """A folder of a disk or an object store; a picklable value, opened where it is used.

    Attributes:
        uri: A local path or a URI. s3, gs, abfs and hdfs open through pyarrow.fs; every other scheme, and
            those with ``fsspec+`` before them, through fsspec. Credentials come from the usual places.
    """

    uri: str

    def __str__(self) -> str:
        """The URI without its secrets."""
        return redact(self.uri)

    @property
    def is_local(self) -> bool:
        """Whether files are published by renaming."""
        return isinstance(self._opened[0], pafs.LocalFileSystem)

    @property
    def _opened(self) -> tuple[pafs.FileSystem, str]:
        return _open(self.uri, os.getpid())

    def child(self, key: str) -> Folder:
        """A folder below this one."""
        base, question, options = self.uri.partition("?") if "://" in self.uri else (self.uri, "", "")
        return Folder(f"{base.rstrip('/')}/{key}{question}{options}") if key else self

    def path(self, key: str) -> str:
        """Where a key lies, for messages and for whoever opens it."""
        return f"{str(self).rstrip('/')}/{key}" if key else str(self)

    @property
    def identity(self) -> str:
        """What two spellings of one place share: the real path on a disk, the URI without options elsewhere."""
        return str(Path(self._opened[1]).resolve()) if self.is_local else self.uri.partition("?")[0].rstrip("/")

    def local_path(self, key: str) -> Path:
        """The key's path on the local disk; only where ``is_local``."""
        return Path(self._opened[1]) / key

    def entries(self, *, hidden: bool = False) -> list[Entry]:
        """Every file at any depth, by key; without those that a name beginning with ``.`` or ``_`` hides."""
        filesystem, root = self._opened
        try:
            found = filesystem.get_file_info(pafs.FileSelector(root, allow_not_found=True, recursive=True))
            entries = [
                Entry(posixpath.relpath(info.path, root), info.size, _version(filesystem, info))
                for info in found
                if info.type == pafs.FileType.File
            ]
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(
                str(self), f"cannot be listed ({error})", "check the path, its permissions, and that names are UTF-8"
            ) from error
        return sorted((e for e in entries if hidden or not is_hidden(e.key)), key=lambda entry: entry.key)

    def entry(self, key: str) -> Entry | None:
        """What lies at a key; None where nothing does."""
        filesystem, root = self._opened
        [info] = filesystem.get_file_info([posixpath.join(root, key)])
        return Entry(key, info.size, _version(filesystem, info)) if info.type == pafs.FileType.File else None

    def stamp(self, key: str) -> str | None:
        """What differs after any change to a file; None where there is no file.

        On a disk the time of its last change of any kind is in it, which nobody can set: another file could be put
        in its place with its size and modification time. A file that changed a moment ago is waited for, since a
        change within the same tick of the clock would not show.
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
        """Whether there is a folder (in an object store: a key below it)."""
        filesystem, root = self._opened
        [info] = filesystem.get_file_info([root.rstrip("/") or "/"])
        return bool(info.type == pafs.FileType.Directory)

    def open(self, key: str) -> pa.NativeFile:
        """Open a file for reading at random."""
        filesystem, root = self._opened
        return filesystem.open_input_file(posixpath.join(root, key))

    def read(self, key: str) -> bytes | None:
        """A small file whole; None where there is none."""
        try:
            with self.open(key) as file:
                data: bytes = file.read()
                return data
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        """Remove a file; one that is gone already is no error."""
        filesystem, root = self._opened
        with contextlib.suppress(FileNotFoundError):
            filesystem.delete_file(posixpath.join(root, key))

    def delete_folder(self, key: str) -> None:
        """Remove a folder and all in it; one that is gone already is no error."""
        filesystem, root = self._opened
        with contextlib.suppress(FileNotFoundError):
            filesystem.delete_dir(posixpath.join(root, key))

    @contextlib.contextmanager
    def spool(self) -> Iterator[Path]:
        """A local file to write into before ``publish``; gone after the block.

        On a disk it lies in the folder's own hidden ``_emotion_ops/spool``, in the same filesystem as its final
        place; else in the temporary folder.
        """
        home = self.local_path(SPOOL) if self.is_local else Path(tempfile.gettempdir())
        home.mkdir(parents=True, exist_ok=True)
        path = home / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def clear_spool(self) -> None:
        """Remove what dead processes left in the spool; on another machine, what is a day old."""
        for path in self.local_path(SPOOL).glob("*.tmp") if self.is_local else ():
            if not spooled_by_the_living(path):
                path.unlink(missing_ok=True)

    def publish(self, spooled: Path, key: str) -> None:
        """Put a finished spool file at its final key, at once and whole.

        On a disk: fsync, rename, fsync of the folder. In an object store: one upload that becomes visible when
        it is complete; after an unclear answer the store is asked whether it landed before it is tried again.

        Raises:
            OSError: The file did not land.
        """
        if self.is_local:
            target = self.local_path(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            _fsync(spooled)
            spooled.replace(target)
            _fsync(target.parent)
            return
        filesystem, root = self._opened
        path, size = posixpath.join(root, key), spooled.stat().st_size
        for attempt in range(1, _TRIES + 1):
            try:
                pafs.copy_files(str(spooled), path, pafs.LocalFileSystem(), filesystem, use_threads=False)
            except OSError:
                if self._landed(key, size):
                    return
                if attempt == _TRIES:
                    raise
                time.sleep(_PAUSE * 4**attempt)
            else:
                if not self._landed(key, size):
                    raise OSError(f"{self.path(key)} does not have the {size:,} bytes that were uploaded")
                return

    def publish_bytes(self, data: bytes, key: str) -> None:
        """Put a small file at its key, at once and whole."""
        with self.spool() as path:
            path.write_bytes(data)
            self.publish(path, key)

    def _landed(self, key: str, size: int) -> bool:
        try:
            entry = self.entry(key)
        except OSError:
            return False
        return entry is not None and entry.size == size


def spooled_by_the_living(path: Path) -> bool:
    """Whether whoever writes a spool file may still be going; on another machine, whether it is under a day old."""
    host, _, process = path.stem.rpartition("-")[0].rpartition("-")
    if host == socket.gethostname() and process.isdigit() and not lives(int(process)):
        return False
    return time.time() - path.stat().st_mtime <= _DAY


def lives(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def split(uri: str) -> tuple[Folder, str]:
    """A file's URI as its folder and its name."""
    base, question, options = uri.partition("?") if "://" in uri else (uri, "", "")
    head, _, name = base.rstrip("/").rpartition("/")
    return Folder(f"{head or ('/' if base.startswith('/') else '.')}{question}{options}"), name


def is_hidden(key: str) -> bool:
    """Whether readers leave a file out: a part of its path begins with ``.`` or ``_``."""
    return any(part.startswith((".", "_")) for part in key.split("/"))


@functools.lru_cache(maxsize=64)
def _open(uri: str, process: int) -> tuple[pafs.FileSystem, str]:
    """The filesystem of a URI and the path in it; clients are not shared with forked children."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        return pafs.LocalFileSystem(), str(Path(rest if separator else uri).expanduser().absolute())
    try:
        if scheme in _ARROW_SCHEMES:
            opened: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(f"{_ARROW_SCHEMES[scheme]}://{rest}")
            return opened
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(uri.removeprefix("fsspec+"))
        return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path
    except (ImportError, ValueError, pa.ArrowException) as error:
        raise DatasetError(
            redact(uri), f"cannot be opened ({error})", "check the scheme and install its package"
        ) from error


def _version(filesystem: pafs.FileSystem, info: pafs.FileInfo) -> str:
    handler: Any = getattr(filesystem, "handler", None)
    if handler is not None:  # fsspec: the store's own description of the file, with its ETag
        details = handler.fs.info(info.path)
        tag = details.get("ETag") or details.get("etag") or details.get("md5Hash")
        if tag:
            return str(tag).strip('"')
    return str(info.mtime_ns)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
