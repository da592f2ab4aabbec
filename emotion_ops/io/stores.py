"""A folder of an object store, with uploads that are visible only when they are complete.

Arrow reads faster and needs no further package. fsspec knows more stores, and its s3fs can upload on the condition
that no object is at the key, which Arrow's S3 cannot. If both can open a store, Arrow reads and fsspec writes.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from emotion_ops.io.arrow_client import ArrowClient
from emotion_ops.io.client import Entry, StoreClient
from emotion_ops.io.filesystems import is_arrow, open_arrow, open_fsspec, open_s3fs
from emotion_ops.io.fsspec_client import FsspecClient
from emotion_ops.io.schemes import BUCKETS, canonical

_ATTEMPTS = 4
_PAUSE = 0.2  # seconds before the second attempt; four times as long before each further one


@dataclass(frozen=True)
class ObjectStore:
    """A folder of an object store. All errors are OSErrors; the methods of ``StoreClient`` have the same meaning here.

    Attributes:
        reader: Lists and reads.
        writer: Uploads and deletes.
    """

    reader: StoreClient
    writer: StoreClient

    @property
    def has_exclusive_create(self) -> bool:
        """Whether the store itself lets exactly one of several uploads to a new key succeed."""
        return self.writer.has_exclusive_create

    def identity(self, uri: str) -> str:
        """The same text for all URIs of this folder: one name for the scheme, no user information, no options.

        Args:
            uri: The URI that the folder was opened with.
        """
        scheme = canonical(self.reader.scheme)
        path = posixpath.normpath(f"/{self.reader.root.strip('/')}")
        if scheme == "file":
            return str(Path(path).resolve())
        if scheme in BUCKETS:
            return f"{scheme}:/{path}"
        host = uri.partition("://")[2].partition("/")[0].rpartition("@")[2].lower()
        return f"{scheme}://{host}{path.partition('?')[0]}"

    def entries(self) -> Iterator[Entry]:
        """See ``StoreClient``."""
        return self.reader.entries()

    def entry(self, key: str) -> Entry | None:
        """See ``StoreClient``."""
        return self.reader.entry(key)

    def modified(self, key: str) -> float | None:
        """See ``StoreClient``."""
        return self.reader.modified(key)

    def is_folder(self) -> bool:
        """See ``StoreClient``."""
        return self.reader.is_folder()

    def open(self, key: str) -> pa.NativeFile:
        """See ``StoreClient``."""
        return self.reader.open(key)

    def delete(self, key: str) -> None:
        """See ``StoreClient``."""
        self.writer.delete(key)

    def delete_folder(self, key: str) -> None:
        """See ``StoreClient``."""
        self.writer.delete_folder(key)

    def put(self, source: Path, key: str, *, new: bool) -> None:
        """Upload a file. It becomes visible when it is complete.

        After an unclear response the bytes at the key are compared with the file, since an older object may have the
        same size. The upload is tried again only if they differ.

        Args:
            source: The local file.
            key: Where it goes.
            new: Only if no object is there. Without ``has_exclusive_create`` this is checked before the upload, and
                the later of two uploads at the same instant wins.

        Raises:
            FileExistsError: With ``new``, another object is there.
            OSError: The file did not land.
        """
        for attempt in range(_ATTEMPTS):
            try:
                if new and not self.has_exclusive_create and self.entry(key) is not None:
                    raise FileExistsError(f"{self.reader.path(key)} exists already")
                self.writer.upload(source, key, new=new)
            except OSError as error:
                if self.reader.holds(source, key):
                    return
                if new and self.entry(key) is not None:
                    raise FileExistsError(f"{self.reader.path(key)} exists already") from error
                if attempt == _ATTEMPTS - 1 or isinstance(error, FileExistsError | FileNotFoundError | PermissionError):
                    raise
                time.sleep(_PAUSE * 4**attempt)
            else:
                return


def open_store(uri: str) -> ObjectStore:
    """Open a URI that is not a local path; ``emotion_ops.io.schemes`` says what opens it.

    Raises:
        ImportError: The scheme needs a package that is not installed.
        ValueError: The URI cannot be used.
        pyarrow.ArrowException: The same.
    """
    if not is_arrow(uri):
        filesystem, path = open_fsspec(uri, use_listings_cache=False)  # other processes write here too
        client = FsspecClient(filesystem, path.rstrip("/") or path)
        return ObjectStore(client, client)
    arrow, root = open_arrow(uri)
    s3fs = open_s3fs(arrow) if arrow.type_name == "s3" else None
    reader = ArrowClient(arrow, root)
    return ObjectStore(reader, reader if s3fs is None else FsspecClient(s3fs, root))
