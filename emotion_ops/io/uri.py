"""A path or URI as text → its parts.

The access check and the code that opens files use the same parser, so what is opened is what was checked.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.io.redact import show
from emotion_ops.io.schemes import HTTP

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/?#]*)(.*)", re.DOTALL)


class Uri(NamedTuple):
    """A URI in parts.

    Attributes:
        scheme: In lower case.
        authority: Host and port, or the bucket.
        path: Without its leading slash.
        query: Only for http(s), and for the options of a root.
    """

    scheme: str
    authority: str
    path: str
    query: str = ""

    def __str__(self) -> str:
        """The whole URI, secrets included."""
        return f"{self.scheme}://{self.authority}/{self.path}" + (f"?{self.query}" if self.query else "")


def parse(location: str) -> Uri | str:
    """Parse a location.

    Returns:
        A ``Uri``, or a local path: a ``file:`` URI is decoded.

    Raises:
        RowError: A ``file:`` URI names another machine, URLs are chained, or the path contains a NUL byte.
    """
    is_file = location[:6].lower() == "file:/"
    path = _file_path(location) if is_file else location
    if "\0" in path:
        raise RowError(RowErrorCode.UNREADABLE, f"the path {show(location)} contains a NUL byte")
    match = None if is_file else _URI.match(location)
    if match is None:
        if "::" in path and "://" in path:
            raise chained(location)
        return path
    scheme, authority, path = match[1].lower(), match[2], match[3]
    query = ""
    if scheme in HTTP:
        path, _, query = path.partition("#")[0].partition("?")
    return Uri(scheme, authority, path.removeprefix("/"), query)


def remove_dots(path: str) -> str | None:
    """A path without ``.`` and ``..`` segments; None if it leaves its top folder, or hides that it might."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == ".." and not segments:
            return None
        if segment == "..":
            segments.pop()
        elif segment != ".":
            segments.append(segment)
    path = decoded = "/".join(segments)
    # Some servers decode a path once more, or read a backslash as a slash. No honest path contains %2e%2e.
    for _ in range(3):
        decoded = unquote(decoded)
    return None if ".." in re.split(r"[/\\]", decoded) else path


def forbidden(detail: str) -> RowError:
    """The error for a location that must not be read."""
    return RowError(RowErrorCode.FORBIDDEN, detail)


def chained(location: str) -> RowError:
    """The error for a location that opens a second location inside it."""
    return forbidden(f"{show(location)} opens one location through another, which a table must not do")


def _file_path(uri: str) -> str:
    path = uri[len("file:") :]
    if path.startswith("//"):
        host, slash, path = path[2:].partition("/")
        path = slash + path
        if host.lower() not in ("", "localhost"):
            raise forbidden(f"{show(uri)} names another machine: the URI of a local file is file:///path")
    return os.fsdecode(unquote_to_bytes(path))
