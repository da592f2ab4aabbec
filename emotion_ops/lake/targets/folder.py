"""One folder of a disk or of an object store: list it, read it, and publish whole files into it.

A file is made in a spool file first, where it can be verified, and then published: renamed on a disk,
uploaded in one piece to an object store. Readers of the folder meet whole files only.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import posixpath
import socket
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from emotion_ops.errors import DatasetError, RowError
from emotion_ops.io.redact import redact, redact_all
from emotion_ops.io.uri import parse
from emotion_ops.lake.objects import (
    Entry as Entry,  # it is the word of both
)
from emotion_ops.lake.objects import (
    ObjectStore,
    open_store,
)

HOME = "_emotion_ops"
"""The folder in a destination that holds what is no data: readers leave it out, for its name begins with ``_``."""

SPOOL = f"{HOME}/spool"
_DAY = 86_400.0
_WITHOUT_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_TICK = 20_000_000  # nanoseconds; file systems take the time of the kernel's last tick, at most 10 ms ago


@dataclass(frozen=True)
class Folder:
    """A folder of a disk or an object store; a picklable value, opened where it is used.

    Attributes:
        uri: A local path or a URI; a ``file:`` URI becomes the path that it is. s3, gs, abfs and hdfs open
            through pyarrow.fs; every other scheme, and those with ``fsspec+`` before them, through fsspec.
            Credentials come from the usual places.
    """

    uri: str

    def __post_init__(self) -> None:
        """Take a ``file:`` URI as its path."""
        object.__setattr__(self, "uri", plain(self.uri))

    def __str__(self) -> str:
        """The URI without its secrets."""
        return redact(self.uri)

    @property
    def is_local(self) -> bool:
        """Whether files are published by renaming."""
        return isinstance(self._opened, Path)

    @property
    def creates(self) -> bool:
        """Whether of several who publish at a new key at the same instant one alone wins."""
        return isinstance(self._opened, Path) or self._opened.creates

    @property
    def _opened(self) -> Path | ObjectStore:
        return _open(self.uri, os.getpid())

    @property
    def _store(self) -> ObjectStore:
        opened = self._opened
        if isinstance(opened, Path):
            raise TypeError(f"{self} is no object store")
        return opened

    def child(self, key: str) -> Folder:
        """A folder below this one."""
        base, question, options = self.uri.partition("?") if "://" in self.uri else (self.uri, "", "")
        return Folder(f"{base.rstrip('/')}/{key}{question}{options}") if key else self

    def path(self, key: str) -> str:
        """Where a key lies, for messages and for whoever opens it."""
        return f"{str(self).rstrip('/')}/{key}" if key else str(self)

    def identity(self, key: str = "") -> str:
        """What all spellings of one place share: the real path on a disk, scheme and path in an object store."""
        opened = self._opened
        if isinstance(opened, Path):
            return str((opened / key).resolve())
        return posixpath.join(opened.identity(self.uri), key) if key else opened.identity(self.uri)

    def local_path(self, key: str) -> Path:
        """The key's path on the local disk.

        Raises:
            TypeError: It is no local disk.
        """
        opened = self._opened
        if not isinstance(opened, Path):
            raise TypeError(f"{self} is no local disk")
        return opened / key

    def entries(self, *, hidden: bool = False) -> list[Entry]:
        """Every file at any depth, by key; without those that a name beginning with ``.`` or ``_`` hides."""
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
        """What lies at a key; None where nothing does."""
        if not self.is_local:
            return self._store.entry(key)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = self.local_path(key).stat()
            return Entry(key, found.st_size, str(found.st_mtime_ns)) if stat.S_ISREG(found.st_mode) else None
        return None

    def modified(self, key: str) -> float | None:
        """When a file was written, in seconds of the store's own clock; None where it is gone or not told."""
        if not self.is_local:
            return self._store.modified(key)
        with contextlib.suppress(FileNotFoundError):
            return self.local_path(key).stat().st_mtime
        return None

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
        return self.local_path("").is_dir() if self.is_local else self._store.is_folder()

    def open(self, key: str) -> pa.NativeFile:
        """Open a file for reading at random."""
        if self.is_local:
            return pafs.LocalFileSystem().open_input_file(str(self.local_path(key)))
        return self._store.open(key)

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
        if self.is_local:
            self.local_path(key).unlink(missing_ok=True)
        else:
            self._store.delete(key)

    def delete_folder(self, key: str) -> None:
        """Remove a folder and all in it; one that is gone already is no error."""
        if self.is_local:
            with contextlib.suppress(FileNotFoundError):
                pafs.LocalFileSystem().delete_dir(str(self.local_path(key)))
        else:
            self._store.delete_folder(key)

    @contextlib.contextmanager
    def spool(self) -> Iterator[Path]:
        """A local file to write into before ``publish``; gone after the block.

        On a disk it lies in the folder's own hidden ``_emotion_ops/spool``, in the same filesystem as its final
        place; else in the temporary folder.
        """
        home = self.local_path(SPOOL) if self.is_local else Path(tempfile.gettempdir())
        home.mkdir(parents=True, exist_ok=True)
        path = home / f"{_place()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def clear_spool(self) -> None:
        """Remove what dead processes left in the spool; on another machine, what is a day old."""
        for path in self.local_path(SPOOL).glob("*.tmp") if self.is_local else ():
            if not spooled_by_the_living(path):
                path.unlink(missing_ok=True)

    def publish(self, spooled: Path, key: str, *, new: bool = False) -> None:
        """Put a finished spool file at its final key, at once and whole.

        On a disk: fsync, rename, fsync of the folder. In an object store: one upload that becomes visible when
        it is complete; after an unclear answer the store is asked whether it landed before it is tried again.

        Args:
            spooled: The file.
            key: Where it goes.
            new: Only where nothing lies there; see ``creates`` for how surely.

        Raises:
            FileExistsError: Under ``new``, another file lies there.
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
        """Put a small file at its key, at once and whole; see ``publish``."""
        with self.spool() as path:
            path.write_bytes(data)
            self.publish(path, key, new=new)


def spooled_by_the_living(path: Path) -> bool:
    """Whether whoever writes a spool file may still be going; on another machine, whether it is under a day old."""
    place, _, process = path.stem.rpartition("-")[0].rpartition("-")
    if place == _place() and process.isdigit() and not lives(int(process)):
        return False
    return time.time() - path.stat().st_mtime <= _DAY


@functools.cache
def machine() -> str:
    """This machine, its boot and the namespace that its process numbers count in."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()}/{boot.read_text().strip()}/{namespace.readlink()}"
    return f"{socket.gethostname()}/{uuid.getnode():x}"


def _place() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:16]


def lives(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def plain(uri: str) -> str:
    """A ``file:`` URI as the local path that it is, percent-escapes decoded; all else as it stands.

    Raises:
        DatasetError: It names another machine.
    """
    if uri[:6].lower() != "file:/":
        return uri
    try:
        return str(parse(uri))
    except RowError as error:
        raise DatasetError(redact(uri), f"is no local path ({error.detail})", "give file:///path") from error


def split(uri: str) -> tuple[Folder, str]:
    """A file's URI as its folder and its name."""
    uri = plain(uri)
    base, question, options = uri.partition("?") if "://" in uri else (uri, "", "")
    head, _, name = base.rstrip("/").rpartition("/")
    return Folder(f"{head or ('/' if base.startswith('/') else '.')}{question}{options}"), name


def is_hidden(key: str) -> bool:
    """Whether readers leave a file out: a part of its path begins with ``.`` or ``_``."""
    return any(part.startswith((".", "_")) for part in key.split("/"))


def is_parquet(key: str) -> bool:
    """Whether a file is one of a dataset, by the end of its name."""
    return key.lower().endswith((".parquet", ".parq", ".pq"))


@functools.lru_cache(maxsize=64)
def _open(uri: str, process: int) -> Path | ObjectStore:
    """A local path, or an object store; clients are not shared with forked children."""
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
    """Give a file its final name if that is free: the kernel lets one alone win."""
    try:
        target.hardlink_to(spooled)
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        if target.exists():  # a filesystem without hard links: of two at the same instant the later wins
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        spooled.replace(target)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
