"""An object store: what Arrow or fsspec open, with uploads that become visible when they are whole.

Arrow reads faster and needs no further package. fsspec knows more stores, and its s3fs uploads on the condition
that nothing lies at the key yet, which Arrow's S3 cannot. Where both open the same store, Arrow reads it and
fsspec writes it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import posixpath
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

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
_FAMILIES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs", "local": "file"}
_TOLD_BY_PATH = ("s3", "gs", "abfs", "memory")  # bucket or container is the first part of the path
_CONDITIONAL = ("s3", "s3a")  # fsspec's protocols whose mode="create" is the store's own condition, not a look before
_PART = 8 * 2**20
_PARTS_AT_ONCE = 4
_READ_AHEAD = 4 * 2**20
_TRIES = 4
_PAUSE = 0.2
_REQUEST_TRIES = 5
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


@dataclass(frozen=True)
class Entry:
    """A file as its store describes it.

    Attributes:
        key: Its path below the folder.
        size: Bytes.
        version: What changes when the file does: its modification time in nanoseconds, or its ETag where it is
            listed through fsspec and the store has one.
    """

    key: str
    size: int
    version: str


@dataclass(frozen=True)
class ObjectStore:
    """A folder of an object store, opened. Errors of every client leave it as OSError.

    Attributes:
        root: The path in the store.
        arrow: Who reads; None where fsspec does.
        fsspec: Who writes; None where Arrow does.
    """

    root: str
    arrow: pafs.FileSystem | None
    fsspec: Any

    @property
    def creates(self) -> bool:
        """Whether of several uploads to a new key the store itself lets one alone win."""
        if self.fsspec is None:
            return False
        protocol = self.fsspec.protocol
        return any(name in _CONDITIONAL for name in ([protocol] if isinstance(protocol, str) else protocol))

    def identity(self, uri: str) -> str:
        """What all spellings of this folder share: with one name for the scheme, without userinfo and options.

        Args:
            uri: What it was opened by.
        """
        protocol = self.fsspec.protocol if self.arrow is None else self.arrow.type_name
        scheme = protocol if isinstance(protocol, str) else protocol[0]
        scheme = _FAMILIES.get(scheme, scheme)
        path = posixpath.normpath(f"/{self.root.strip('/')}")
        if scheme == "file":
            return str(Path(path).resolve())
        if scheme in _TOLD_BY_PATH:
            return f"{scheme}:/{path}"
        host = uri.partition("://")[2].partition("/")[0].rpartition("@")[2].lower()
        return f"{scheme}://{host}{path.partition('?')[0]}"

    def path(self, key: str) -> str:
        """A key's path in the store."""
        return posixpath.join(self.root, key) if key else self.root

    def entries(self) -> Iterator[Entry]:
        """Every object below the folder; without the empty ones that stand for folders."""
        if self.arrow is not None:
            for info in self.arrow.get_file_info(pafs.FileSelector(self.root, allow_not_found=True, recursive=True)):
                if info.type == pafs.FileType.File:
                    yield self._entry_of(info, posixpath.relpath(info.path, self.root))
            return
        found: dict[str, Any] = {}
        with _as_os_errors(), contextlib.suppress(FileNotFoundError):
            found = self.fsspec.find(self.root, detail=True)
        for path, details in found.items():
            if details["type"] == "file" and not path.endswith("/"):
                yield Entry(posixpath.relpath(path, self.root), details["size"], _version(details))

    def entry(self, key: str) -> Entry | None:
        """What lies at a key; None where nothing does."""
        if self.arrow is not None:
            [info] = self.arrow.get_file_info([self.path(key)])
            return self._entry_of(info, key) if info.type == pafs.FileType.File else None
        details = self._details(key)
        return Entry(key, details["size"], _version(details)) if details and details["type"] == "file" else None

    def modified(self, key: str) -> float | None:
        """When an object was written, in seconds of the store's own clock; None where it is gone or not told."""
        if self.arrow is not None:
            [info] = self.arrow.get_file_info([self.path(key)])
            return None if info.mtime_ns is None else info.mtime_ns / 1e9
        return _written(self._details(key))

    def is_folder(self) -> bool:
        """Whether a key lies below."""
        if self.arrow is not None:
            [info] = self.arrow.get_file_info([self.root.rstrip("/") or "/"])
            return bool(info.type == pafs.FileType.Directory)
        with _as_os_errors():
            return bool(self.fsspec.isdir(self.root))

    def open(self, key: str) -> pa.NativeFile:
        """Open an object for reading at random."""
        if self.arrow is not None:
            return self.arrow.open_input_file(self.path(key))
        with _as_os_errors():
            return pa.PythonFile(_Reader(self.fsspec.open(self.path(key), "rb", block_size=_READ_AHEAD)), mode="r")

    def delete(self, key: str) -> None:
        """Remove an object; one that is gone already is no error."""
        with _as_os_errors(), contextlib.suppress(FileNotFoundError):
            if self.fsspec is not None:
                self.fsspec.rm_file(self.path(key))
            elif self.arrow is not None:
                self.arrow.delete_file(self.path(key))

    def delete_folder(self, key: str) -> None:
        """Remove all below a key; what is gone already is no error."""
        with _as_os_errors(), contextlib.suppress(FileNotFoundError):
            if self.fsspec is not None:
                self.fsspec.rm(self.path(key), recursive=True)
            elif self.arrow is not None:
                self.arrow.delete_dir(self.path(key))

    def put(self, source: Path, key: str, *, new: bool) -> None:
        """Upload a file: one upload, which becomes visible when it is complete.

        After an unclear answer the store is asked for the bytes at the key, since an older object may have the
        same size; only where they are others is the upload tried again.

        Args:
            source: The local file.
            key: Where it goes.
            new: Only where nothing lies there yet. Where the store does not decide that itself (see ``creates``),
                it is looked up before, and of two who upload at the same instant the later wins.

        Raises:
            FileExistsError: Under ``new``, another object lies there.
            OSError: The file did not land.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                self._upload(source, key, new=new)
            except OSError as error:
                if self._holds(source, key):
                    return
                if new and self.entry(key) is not None:
                    raise FileExistsError(f"{self.path(key)} is there already") from error
                if attempt == _TRIES or isinstance(error, FileExistsError | FileNotFoundError | PermissionError):
                    raise
                time.sleep(_PAUSE * 4 ** (attempt - 1))
            else:
                return

    def _upload(self, source: Path, key: str, *, new: bool) -> None:
        if new and not self.creates and self.entry(key) is not None:
            raise FileExistsError(f"{self.path(key)} is there already")
        if self.arrow is not None and self.fsspec is None:
            self._copy(self.arrow, source, key)
            return
        options: dict[str, Any] = {}
        if self.creates:
            options = {"chunksize": _PART, "max_concurrency": _PARTS_AT_ONCE, "mode": "create" if new else "overwrite"}
        with _as_os_errors():
            self.fsspec.put_file(str(source), self.path(key), **options)

    def _copy(self, arrow: pafs.FileSystem, source: Path, key: str) -> None:
        """Upload through Arrow, in one call that no Ctrl-C ends halfway, for a stream left open is completed.

        The call returns as if all were well where the last request failed; so the store is asked.
        """
        before = self._tag(arrow, key)
        pafs.copy_files(str(source), self.path(key), pafs.LocalFileSystem(), arrow, use_threads=False)
        entry, size = self.entry(key), source.stat().st_size
        is_new = before != self._tag(arrow, key)
        if entry is None or entry.size != size or not (is_new or self._holds(source, key)):
            raise OSError(f"{self.path(key)} does not have the {size:,} bytes that were uploaded")

    def _tag(self, arrow: pafs.FileSystem, key: str) -> bytes | None:
        """The ETag of what lies at a key; None where nothing does, or the store tells none."""
        try:
            with arrow.open_input_file(self.path(key)) as file:
                tag: bytes | None = (file.metadata() or {}).get("ETag")
                return tag
        except FileNotFoundError:
            return None

    def _holds(self, source: Path, key: str) -> bool:
        """Whether the object at a key is this file, byte for byte."""
        try:
            entry = self.entry(key)
            if entry is None or entry.size != source.stat().st_size:
                return False
            with self.open(key) as theirs, source.open("rb") as ours:
                while mine := ours.read(_READ_AHEAD):
                    if theirs.read(len(mine)) != mine:
                        return False
        except OSError:
            return False
        return True

    def _details(self, key: str) -> dict[str, Any]:
        """What fsspec says of a key; nothing where nothing is there."""
        with _as_os_errors(), contextlib.suppress(FileNotFoundError):
            details: dict[str, Any] = self.fsspec.info(self.path(key))
            return details
        return {}

    def _entry_of(self, info: pafs.FileInfo, key: str) -> Entry:
        version: int | None = info.mtime_ns
        if version is not None and isinstance(self.arrow, pafs.S3FileSystem):
            version -= version % 10**9  # some stores list milliseconds, and answer for one object in whole seconds
        return Entry(key, info.size, str(version))


def open_store(uri: str) -> ObjectStore:
    """Open a URI of anything but the local disk.

    s3, gs, abfs and hdfs are opened by Arrow; every other scheme, and those with ``fsspec+`` before them, by fsspec.

    Raises:
        ImportError: The scheme needs a package.
        ValueError: The URI is none.
        pyarrow.ArrowException: Likewise.
    """
    scheme, _, rest = uri.partition("://")
    if scheme in _ARROW_SCHEMES:
        arrow, root = pafs.FileSystem.from_uri(f"{_ARROW_SCHEMES[scheme]}://{rest}")
        if not isinstance(arrow, pafs.S3FileSystem):
            return ObjectStore(root, arrow, None)
        _, (options,) = arrow.__reduce__()
        retries = pafs.AwsStandardS3RetryStrategy(max_attempts=_REQUEST_TRIES)
        return ObjectStore(root, pafs.S3FileSystem(**_given(options), retry_strategy=retries), _s3fs(options))
    from fsspec.core import url_to_fs

    opened, path = url_to_fs(uri.removeprefix("fsspec+"), use_listings_cache=False)  # others write here too
    return ObjectStore(path.rstrip("/") or path, None, opened)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Of Arrow's options those that were set."""
    proxy = options["proxy_options"]
    options = {**options, "proxy_options": proxy if proxy["host"] else None}
    return {name: value for name, value in options.items() if value not in (None, "", -1.0)}


def _s3fs(options: dict[str, Any]) -> Any:
    """The same store through s3fs, with the credentials of Arrow's URI or from the same usual places.

    None where s3fs is not installed, or cannot do what the URI asks.
    """
    if importlib.util.find_spec("s3fs") is None or options["role_arn"] or options["proxy_options"]["host"]:
        return None
    import s3fs

    endpoint = options["endpoint_override"]
    if endpoint and "://" not in endpoint:
        endpoint = f"{options['scheme'] or 'https'}://{endpoint}"
    client = {"region_name": options["region"], "verify": options["tls_ca_file_path"]}
    return s3fs.S3FileSystem(
        key=options["access_key"] or None,
        secret=options["secret_key"] or None,
        token=options["session_token"] or None,
        anon=options["anonymous"],
        endpoint_url=endpoint or None,
        client_kwargs={name: value for name, value in client.items() if value},
        use_listings_cache=False,
    )


def _version(details: dict[str, Any]) -> str:
    tag = details.get("ETag") or details.get("etag") or details.get("md5Hash")
    written = _written(details)
    return str(tag).strip('"') if tag else "unknown" if written is None else f"{written:.3f}"


def _written(details: dict[str, Any]) -> float | None:
    """When it was written, in seconds since 1970: fsspec's filesystems tell it in several ways."""
    written = next((details[name] for name in _TIMES if details.get(name)), None)
    if isinstance(written, str):
        with contextlib.suppress(ValueError):
            written = datetime.fromisoformat(written)
    if isinstance(written, datetime):
        return written.timestamp()
    return float(written) if isinstance(written, int | float) else None


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """The clients under fsspec have exception trees of their own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


class _Reader:
    """An open file of fsspec whose errors are OSErrors."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._file, name)
        return _translated(value) if callable(value) else value


def _translated(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _as_os_errors():
            return method(*args, **kwargs)

    return call
