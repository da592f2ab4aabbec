"""The location in a table's cell → the bytes that it names, after the access check and within a size limit."""

from __future__ import annotations

import functools
import os
import stat
from pathlib import Path

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.io.access import Access, locate
from emotion_ops.io.bounded import Reserve, no_op, read_bounded
from emotion_ops.io.filesystems import open_bucket
from emotion_ops.io.redact import reason, show
from emotion_ops.io.schemes import HTTP
from emotion_ops.io.uri import Uri, forbidden, parse

_MAX_LENGTH = 16 * 2**10  # no store has longer keys and no usual server longer URLs; some clients take quadratic time
_TIMEOUT = 30.0


def read(location: str, access: Access, max_bytes: int, reserve: Reserve = no_op, timeout: float = _TIMEOUT) -> bytes:
    """Read what a cell's location names.

    Args:
        location: A local path, a ``file:`` URI, or the URI of an allowed scheme.
        access: What may be reached.
        max_bytes: Maximum number of bytes.
        reserve: Called before the bytes are read, as soon as their number is known.
        timeout: Seconds for one location over http(s), in total.

    Raises:
        RowError: ``missing``, ``not_found``, ``forbidden``, ``too_large`` or ``unreadable``. No other exception is
            raised, and no message contains credentials or a query.
    """
    if not location:
        raise RowError(RowErrorCode.MISSING, "the path is empty")
    if len(location) > _MAX_LENGTH:
        what = f"{show(location)} has {len(location):,} characters, too many for a path: give images as binary cells"
        raise RowError(RowErrorCode.UNREADABLE, what)
    target = locate(location, access)
    if isinstance(target, str):
        return _read_file(target, access, max_bytes, reserve)
    if target.scheme in HTTP:
        from emotion_ops.io import http  # it imports ssl, which local paths do not need

        return http.read(target, access, max_bytes, timeout, reserve)
    return _read_object(target, max_bytes, show(location), reserve)


def _read_file(name: str, access: Access, max_bytes: int, reserve: Reserve) -> bytes:
    path, shown = name, show(name)
    # Opening a FIFO would wait for a writer. Opening a terminal could make it the terminal of this process.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        if access.root is not None:
            root = os.path.realpath(str(parse(str(access.root))))
            path = os.path.realpath(Path(root, name))
            if not Path(path).is_relative_to(root):
                raise access.outside(name)
            flags |= getattr(os, "O_NOFOLLOW", 0)  # a symlink here was made after the check
        file = os.open(path, flags)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                what = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise RowError(RowErrorCode.UNREADABLE, f"{shown} is {what}")
            return read_bounded(functools.partial(os.read, file), status.st_size, max_bytes, shown, reserve)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:  # ValueError: a text that cannot be a file name
        raise _row_error(error, shown) from None


def _read_object(uri: Uri, max_bytes: int, shown: str, reserve: Reserve) -> bytes:
    try:
        open_key, base = open_bucket(uri.scheme, uri.authority, uri.query, os.getpid())
        key = uri.path.lstrip("/")
        with open_key(f"{base.rstrip('/')}/{key}" if base else key) as file:
            size = getattr(file, "size", None)
            size = size() if callable(size) else size
            return read_bounded(file.read, size if isinstance(size, int) else None, max_bytes, shown, reserve)
    except RowError:
        raise
    except Exception as error:  # every client has its own exceptions
        raise _row_error(error, shown) from None


def _row_error(error: Exception, shown: str) -> RowError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return RowError(RowErrorCode.NOT_FOUND, f"nothing is at {shown}")
    if isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error):
        return forbidden(f"{shown}: permission denied")
    if isinstance(error, ImportError):
        what = "pip install fsspec" if error.name == "fsspec" else reason(error)
        return RowError(RowErrorCode.UNREADABLE, f"{shown}: its scheme needs a package that is not installed: {what}")
    return RowError(RowErrorCode.UNREADABLE, f"{shown}: {reason(error)}")
