"""A place on the local disk or in an object store → its bytes, within the limit."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.location import ARROW, Access, Uri, forbidden, outside, parse, reason, show

Admit: TypeAlias = Callable[[int], None]
"""Told of the bytes that reading takes, before it takes them; may wait."""

_CHUNK = 64 * 2**10
_UNTOLD = 2**20  # bytes of a source that does not say its size: enough for most images


def nobody(amount: int) -> None:
    """An ``Admit`` that lets everything pass at once."""


def read_file(name: str, access: Access, admit: Admit) -> bytes:
    """A file of the local disk; raises as ``emotion_ops.images.fetch.read`` does."""
    path, shown = name, show(name)
    # A FIFO would block the opening, a terminal could become ours.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        if access.root is not None:
            root = os.path.realpath(str(parse(access.root)))
            path = os.path.realpath(Path(root, name))
            if not Path(path).is_relative_to(root):
                raise outside(name, access)
            flags |= getattr(os, "O_NOFOLLOW", 0)  # a symlink here is newer than the check
        file = os.open(path, flags)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                what = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise RowError(RowErrorCode.UNREADABLE, f"{shown} is {what}")
            return drain(functools.partial(os.read, file), status.st_size, access.max_bytes, shown, admit)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:  # ValueError: text that no file name can hold
        raise _failed(error, shown) from None


def read_object(uri: Uri, access: Access, shown: str, admit: Admit) -> bytes:
    """An object of a store; raises as ``emotion_ops.images.fetch.read`` does."""
    try:
        opened, base = _filesystem(uri.scheme, uri.authority, uri.query, os.getpid())
        key = uri.path.lstrip("/")
        with opened(f"{base.rstrip('/')}/{key}" if base else key) as file:
            size = getattr(file, "size", None)
            size = size() if callable(size) else size
            return drain(file.read, size if isinstance(size, int) else None, access.max_bytes, shown, admit)
    except RowError:
        raise
    except Exception as error:  # each back end has its own exceptions, and a row's must not end the table
        raise _failed(error, shown) from None


@functools.lru_cache(maxsize=32)
def _filesystem(scheme: str, authority: str, options: str, pid: int) -> tuple[Callable[[str], Any], str]:
    """How to open what lies at one authority, and its base path; kept for each process, as clients don't fork."""
    if scheme in ARROW:
        from pyarrow.fs import FileSystem

        url = f"{ARROW[scheme]}://{authority}/"
        filesystem, base = FileSystem.from_uri(f"{url}?{options}" if options else url)
        return filesystem.open_input_file, base  # of the streams, the one that doesn't unpack .gz by its name
    from fsspec.core import url_to_fs

    filesystem, base = url_to_fs(f"{scheme}://{authority}/")
    if getattr(filesystem, "local_file", False):
        raise forbidden(f"the scheme {scheme} opens local files, which plain paths name")
    return filesystem.open, base


def _failed(error: Exception, shown: str) -> RowError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return RowError(RowErrorCode.NOT_FOUND, f"nothing is at {shown}")
    if isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error):
        return forbidden(f"{shown}: permission denied")
    if isinstance(error, ImportError):
        what = "pip install fsspec" if error.name == "fsspec" else reason(error)
        return RowError(RowErrorCode.UNREADABLE, f"{shown}: its scheme needs a package that is not installed: {what}")
    return RowError(RowErrorCode.UNREADABLE, f"{shown}: {reason(error)}")


def drain(read: Callable[[int], bytes], size: int | None, limit: int, shown: str, admit: Admit) -> bytes:
    """Read to the end, but never more than one byte over the limit.

    Args:
        read: Gives up to as many bytes as asked for, and none at the end.
        size: What the source says about its size; it may be wrong.
        limit: The most bytes that are wanted.
        shown: The location, for the error.
        admit: Told of ``size`` before reading; and of the most that it can be once there is more than was said.

    Raises:
        RowError: ``too_large``, before reading where the size tells.
    """
    problem = RowError(RowErrorCode.TOO_LARGE, f"{shown} has more than {limit:,} bytes, the limit (max_bytes)")
    if size is not None and size > limit:
        raise problem
    admitted = _UNTOLD if size is None else size
    admit(admitted)
    chunks, total = [], 0
    while chunk := read(min(max((size or 0) - total, _CHUNK), limit + 1 - total)):
        total += len(chunk)
        if total > limit:
            raise problem
        if total > admitted:
            admitted = limit
            admit(2 * limit)  # the pieces, and the whole
        chunks.append(chunk)
    return b"".join(chunks)
