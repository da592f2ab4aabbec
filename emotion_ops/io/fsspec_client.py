"""A folder of an object store through fsspec: it knows most stores, and its s3fs can upload to new keys only."""

from __future__ import annotations

import contextlib
import functools
import posixpath
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from emotion_ops.io.client import BLOCK, Entry, StoreClient

_CONDITIONAL = ("s3", "s3a")  # the protocols whose mode="create" is checked by the store, not by an earlier look
_UPLOAD = {"chunksize": 8 * 2**20, "max_concurrency": 4}
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class FsspecClient(StoreClient):
    """See ``StoreClient``.

    Args:
        filesystem: The ``fsspec.AbstractFileSystem``, without a cache of listings: other processes write here too.
        root: The folder's path in it.
    """

    def __init__(self, filesystem: Any, root: str) -> None:
        super().__init__(root)
        self._filesystem = filesystem
        protocol = filesystem.protocol
        self._protocols = (protocol,) if isinstance(protocol, str) else tuple(protocol)

    @property
    def scheme(self) -> str:
        """See ``StoreClient``."""
        return str(self._protocols[0])

    @property
    def has_exclusive_create(self) -> bool:
        """See ``StoreClient``."""
        return any(name in _CONDITIONAL for name in self._protocols)

    def entries(self) -> Iterator[Entry]:
        """See ``StoreClient``."""
        found: dict[str, Any] = {}
        with _as_os_errors(), contextlib.suppress(FileNotFoundError):
            found = self._filesystem.find(self.root, detail=True)
        for path, details in found.items():
            if details["type"] == "file" and not path.endswith("/"):
                yield Entry(posixpath.relpath(path, self.root), details["size"], _version(details))

    def entry(self, key: str) -> Entry | None:
        """See ``StoreClient``."""
        details = self._details(key)
        return Entry(key, details["size"], _version(details)) if details.get("type") == "file" else None

    def modified(self, key: str) -> float | None:
        """See ``StoreClient``."""
        return _modified(self._details(key))

    def is_folder(self) -> bool:
        """See ``StoreClient``."""
        with _as_os_errors():
            return bool(self._filesystem.isdir(self.root))

    def open(self, key: str) -> pa.NativeFile:
        """See ``StoreClient``."""
        with _as_os_errors():
            return pa.PythonFile(_File(self._filesystem.open(self.path(key), "rb", block_size=BLOCK)), mode="r")

    def delete(self, key: str) -> None:
        """See ``StoreClient``."""
        with _as_os_errors(), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self.path(key))

    def delete_folder(self, key: str) -> None:
        """See ``StoreClient``."""
        with _as_os_errors(), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm(self.path(key), recursive=True)

    def upload(self, source: Path, key: str, *, new: bool) -> None:
        """See ``StoreClient``."""
        options: dict[str, Any] = {}
        if self.has_exclusive_create:
            options = {**_UPLOAD, "mode": "create" if new else "overwrite"}
        with _as_os_errors():
            self._filesystem.put_file(str(source), self.path(key), **options)

    def _details(self, key: str) -> dict[str, Any]:
        """What fsspec knows about a key; empty if there is nothing."""
        with _as_os_errors(), contextlib.suppress(FileNotFoundError):
            details: dict[str, Any] = self._filesystem.info(self.path(key))
            return details
        return {}


def _version(details: dict[str, Any]) -> str:
    tag = details.get("ETag") or details.get("etag") or details.get("md5Hash")
    modified = _modified(details)
    return str(tag).strip('"') if tag else "unknown" if modified is None else f"{modified:.3f}"


def _modified(details: dict[str, Any]) -> float | None:
    """When it was written, in seconds since 1970; every filesystem of fsspec has its own name and form for it."""
    found = next((details[name] for name in _TIMES if details.get(name)), None)
    if isinstance(found, str):
        with contextlib.suppress(ValueError):
            found = datetime.fromisoformat(found)
    if isinstance(found, datetime):
        return found.timestamp()
    return float(found) if isinstance(found, int | float) else None


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """The clients under fsspec have their own exception trees."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


class _File:
    """An open file of fsspec whose errors are OSErrors."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._file, name)
        return _with_os_errors(value) if callable(value) else value


def _with_os_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _as_os_errors():
            return method(*args, **kwargs)

    return call
