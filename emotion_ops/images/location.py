"""A path or URI in a table → the place that it names, and whether it may be reached.

Whoever wrote the table is not trusted: a cell names an image, and what it may reach is said by ``Access``
alone. One parser serves both the check and the opening, so that what was checked is what is opened.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.options import OptionGroup, option, optional, names, path

HTTP = ("http", "https")

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"://((?:[^/]*@)?([^/]*))")
_PLAIN_HOST = re.compile(r"(\[[^\]]*\]|[^:\[]*)(:\d*)?")

ARROW = {name: name for name in ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")} | {"s3a": "s3", "s3n": "s3"}
"""Schemes that Arrow opens itself, without further packages; Spark's names for S3 mean the same buckets."""

# Schemes that name the same place, so that a root cannot be left by way of the other spelling.
_SAME_PLACE = ARROW | {"gcs": "gs", "abfss": "abfs", "https": "http", "az": "abfs"}

# fsspec's own ways back to the local disk, and around the check: each opens a second location named inside
# the first. No table needs them, so that allowing one by name does not help.
# fmt: off
_WRAPPERS = frozenset((
    "async_wrapper", "asynclocal", "asyncwrapper", "blockcache", "cached", "dask", "dir", "dvc", "file", "filecache",
    "generic", "git", "libarchive", "local", "reference", "simplecache", "tar", "zip",
))
# fmt: on


@dataclass(frozen=True)
class Access(OptionGroup):
    """What a path in a table may reach.

    Local paths, and URIs of the root's own kind (its scheme, by any of its names), never leave ``root``.
    A URI of another kind is reached only where ``schemes`` names it. ``root`` guards against what a table
    says, not against somebody who rewrites the folders below it at the same time. The guard against private
    addresses is for http(s); for other schemes that name a server (hdfs, sftp), a root pins the server.

    Args:
        root: Folder (local path or URI) that relative paths start from and that no path may leave; its
            scheme is thereby allowed. Options for Arrow's filesystems ("s3://bucket/images?region=…") are
            read here, and only here: a cell's URI of a store is a literal key, ``%`` and ``?`` included.
        schemes: URL schemes allowed by name, e.g. ``("s3", "https")``. Plain paths and ``file:`` URIs are
            always allowed, within the root.
        hosts: Hosts that http(s) may reach although their address is private, loopback or link-local.
        max_bytes: Encoded bytes of one image.
        timeout: Seconds for one image over http(s), in total.
    """

    root: str | None = option(optional(path), None)
    allow: tuple[str, ...] = option(names, (), changes_values=False)
    allow_hosts: tuple[str, ...] = option(names, (), changes_values=False)
    max_bytes = 64 * 2**20
    timeout = 30.0

    @property
    def schemes(self):
        return self.allow

    @property
    def hosts(self):
        return self.allow_hosts


class Uri(NamedTuple):
    """A URI in parts: the path without its leading slash; a query only for http(s) and for a root's options."""

    scheme: str
    authority: str
    path: str
    query: str = ""

    def __str__(self) -> str:
        """The URI in one piece, secrets included."""
        return f"{self.scheme}://{self.authority}/{self.path}" + (f"?{self.query}" if self.query else "")


def redact(location: str) -> str:
    """Make a location fit for a log: without secrets, and not long; long strings are shortened in the middle."""
    text = without_secrets(location)
    return text if len(text) <= 120 else f"{text[:70]}…{text[-49:]}"


def without_secrets(location: str) -> str:
    """A location without userinfo, query and fragment, each shown as ``…``."""
    text = re.sub("([?#]).*" if "://" in location else "([?]).*", r"\1…", location, flags=re.DOTALL)
    for match in _AUTHORITY.finditer(text):
        # What is neither host nor host:port may be a secret with a slash in it, so nothing from there on is shown.
        if not _PLAIN_HOST.fullmatch(match[2]):
            text = f"{text[: match.start(1)]}…"
            break
    return re.sub("://[^/]*@", "://…@", text)


def redact_all(text: str) -> str:
    """A text with every URL in it redacted, for logs and reports."""
    return re.sub(r"\S+://\S+", lambda match: redact(match[0]), text)


def show(location: str) -> str:
    """A location as it stands in an error: redacted and quoted, control characters escaped."""
    return repr(redact(location))


def parse(location: str) -> Uri | str:
    """Take a location apart: a ``Uri``, or the local path that it is (``file:`` URIs decoded).

    Raises:
        RowError: A ``file:`` URI names another machine, URLs are chained, or the path has a NUL byte.
    """
    is_file = location[:6].lower() == "file:/"
    path = _file_path(location) if is_file else location
    if "\0" in path:
        raise RowError(RowErrorCode.UNREADABLE, f"the path {show(location)} has a NUL byte in it")
    match = None if is_file else _URI.match(location)
    if match is None:
        if "::" in path and "://" in path:
            raise _chained(location)
        return path
    scheme, authority, path = match[1].lower(), match[2], match[3]
    query = ""
    if scheme in HTTP:
        path, _, query = path.partition("#")[0].partition("?")
    return Uri(scheme, authority, path.removeprefix("/"), query)


def locate(location: str, access: Access) -> Uri | str:
    """Say where a cell points, having checked everything that can be checked without touching it.

    Returns:
        A local path (not yet held against a local root: that takes the real path), or a ``Uri`` that is
        allowed, that lies in the root, and whose path has no ``.`` or ``..`` in it.

    Raises:
        RowError: ``forbidden``, or ``unreadable`` for a path that cannot be one.
    """
    root = None if access.root is None else _root(access.root)
    cell = parse(location)
    if isinstance(cell, str) and isinstance(root, Uri):
        if not cell or cell.startswith("/"):
            raise outside(location, access)
        cell = parse(str(root._replace(path=f"{_folder(root)}{cell}", query="")))
    return cell if isinstance(cell, str) else _admit(cell, root, location, access)


def reason(error: BaseException) -> str:
    """What an exception of another library says, on one line, shortened, with every URL in it redacted."""
    text = (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
    text = redact_all(text.splitlines()[0][:1000])
    text = "".join(filter(str.isprintable, text))
    return text if len(text) <= 200 else f"{text[:199]}…"


def forbidden(detail: str) -> RowError:
    """The error of a place that may not be reached."""
    return RowError(RowErrorCode.FORBIDDEN, detail)


def outside(location: str, access: Access) -> RowError:
    """The error of a place that lies outside the root."""
    return forbidden(f"{show(location)} lies outside the root {show(access.root or '')}")


def _chained(location: str) -> RowError:
    return forbidden(f"{show(location)} opens one location through another, which no table may do")


def _file_path(uri: str) -> str:
    path = uri[len("file:") :]
    if path.startswith("//"):
        host, slash, path = path[2:].partition("/")
        path = slash + path
        if host.lower() not in ("", "localhost"):
            raise forbidden(f"{show(uri)} names another machine: a local file is file:///path")
    return os.fsdecode(unquote_to_bytes(path))


def _root(location: str) -> Uri | str:
    root = parse(location)
    if isinstance(root, str):
        return root
    path, _, options = root.path.partition("?") if root.scheme in ARROW else (root.path, "", "")
    settled = _settle(path)
    if settled is None:
        raise forbidden(f"the root {show(location)} climbs above its top with '..'")
    return root._replace(path=settled, query=options)


def _folder(root: Uri) -> str:
    """The root's path as the start of the paths below it."""
    path = root.path.strip("/")
    return f"{path}/" if path else ""


def _admit(uri: Uri, root: Uri | str | None, location: str, access: Access) -> Uri:
    scheme, shown = uri.scheme, show(location)
    if scheme in _WRAPPERS or (scheme not in HTTP and "::" in f"{uri.authority}/{uri.path}"):
        raise _chained(location)
    home = root if isinstance(root, Uri) and _same_place(root.scheme) == _same_place(scheme) else None
    if scheme not in {name.lower() for name in access.schemes} and (home is None or home.scheme != scheme):
        raise forbidden(f'{shown}: the scheme {scheme} is not allowed: give allow=("{scheme}",) to allow it')
    path = _settle(uri.path)
    if path is None:
        raise outside(location, access) if home else forbidden(f"{shown} climbs above its top with '..'")
    if home is None:
        return uri._replace(path=path)
    if uri.authority != home.authority or not f"{path}/".startswith(_folder(home)):
        raise outside(location, access)
    return uri._replace(path=path, query=uri.query if scheme in HTTP else home.query)


def _same_place(scheme: str) -> str:
    return _SAME_PLACE.get(scheme, scheme)


def _settle(path: str) -> str | None:
    """The path without its dot segments, or None where it climbs above its top or hides that it might."""
    settled: list[str] = []
    for segment in path.split("/"):
        if segment == ".." and not settled:
            return None
        if segment == "..":
            settled.pop()
        elif segment != ".":
            settled.append(segment)
    path = plain = "/".join(settled)
    # Some servers decode a path once more, or take a backslash for a slash: %2e%2e has no honest use.
    for _ in range(3):
        plain = unquote(plain)
    return None if ".." in re.split(r"[/\\]", plain) else path
