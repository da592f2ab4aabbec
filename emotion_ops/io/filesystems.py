"""Opening the filesystem of a URL scheme, with Arrow or with fsspec."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from emotion_ops.io.schemes import ARROW
from emotion_ops.io.uri import forbidden


@functools.lru_cache(maxsize=32)
def open_bucket(scheme: str, authority: str, options: str, process: int) -> tuple[Callable[[str], Any], str]:
    """Open what lies at one authority, for the cells of a table.

    Args:
        scheme: The scheme.
        authority: The bucket, or the host.
        options: Options of Arrow's filesystems, as a query.
        process: The process's number. Clients must not be used after a fork.

    Returns:
        A function that opens a path for reading, and the path of the authority's top folder.

    Raises:
        RowError: ``forbidden``: the scheme opens local files.
        ImportError: The scheme needs a package that is not installed.
        Exception: Whatever the client raises.
    """
    if scheme in ARROW:
        from pyarrow.fs import FileSystem

        url = f"{ARROW[scheme]}://{authority}/"
        filesystem, base = FileSystem.from_uri(f"{url}?{options}" if options else url)
        return filesystem.open_input_file, base  # open_input_stream would decompress a key that ends with .gz
    from fsspec.core import url_to_fs

    filesystem, base = url_to_fs(f"{scheme}://{authority}/")
    if getattr(filesystem, "local_file", False):
        raise forbidden(f"the scheme {scheme} opens local files, which plain paths name")
    return filesystem.open, base
