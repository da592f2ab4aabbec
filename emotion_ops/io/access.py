"""Which files, stores and hosts the paths of a table may reach: the options, and the check.

The author of a table is not trusted. A cell names an image, and ``Access`` alone decides whether it is read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emotion_ops.errors import RowError
from emotion_ops.io.redact import show, without_secrets
from emotion_ops.io.schemes import ARROW, HTTP, WRAPPERS, canonical
from emotion_ops.io.uri import Uri, chained, forbidden, parse, remove_dots
from emotion_ops.options import OptionGroup, names, option, optional, path


@dataclass(frozen=True)
class Access(OptionGroup):
    """What the paths of a table may reach.

    Local paths, and URIs with the scheme of ``root``, are read only inside ``root``. URIs with another scheme are read
    only if ``allow`` names it. ``root`` protects against what a table contains. It does not protect against a process
    that changes the folders below it at the same time.

    Args:
        root: Folder (local path or URI) that relative paths start from and that no path may leave. Its own scheme is
            allowed. Options of Arrow's filesystems (``s3://bucket/images?region=…``) are read here only: in a cell,
            ``%`` and ``?`` are part of the key. None: the working directory, and every path that the process may read.
        allow: URL schemes that paths may use, for example ``("s3", "https")``. None are allowed by default.
        allow_hosts: Hosts that http(s) may reach although their address is private, loopback or link-local. For other
            schemes that name a server (hdfs, sftp), only ``root`` limits the server.
    """

    root: str | os.PathLike[str] | None = option(optional(path), None)
    allow: Sequence[str] = option(names, (), changes_values=False)
    allow_hosts: Sequence[str] = option(names, (), changes_values=False)

    def identity(self) -> dict[str, Any]:
        """See ``OptionGroup.identity``; the URI of a root is given without its secrets."""
        root = None if self.root is None else str(self.root)
        return {"root": without_secrets(root) if root and "://" in root else root}

    def outside(self, location: str) -> RowError:
        """The error for a location that is not inside the root."""
        return forbidden(f"{show(location)} lies outside the root {show(str(self.root or ''))}")


def locate(location: str, access: Access) -> Uri | str:
    """Resolve a cell's location, after all checks that need no access to it.

    Returns:
        A local path, or a ``Uri`` that is allowed, lies in the root, and has no ``.`` or ``..`` in its path. Whether
        a local path lies in a local root is not checked here, since that needs the real path.

    Raises:
        RowError: ``forbidden``, or ``unreadable`` if the text cannot be a path.
    """
    root = None if access.root is None else _parse_root(str(access.root))
    cell = parse(location)
    if isinstance(cell, str) and isinstance(root, Uri):
        if not cell or cell.startswith("/"):
            raise access.outside(location)
        cell = parse(str(root._replace(path=f"{_folder(root)}{cell}", query="")))
    return cell if isinstance(cell, str) else _check(cell, root, location, access)


def _parse_root(location: str) -> Uri | str:
    root = parse(location)
    if isinstance(root, str):
        return root
    path, _, options = root.path.partition("?") if root.scheme in ARROW else (root.path, "", "")
    resolved = remove_dots(path)
    if resolved is None:
        raise forbidden(f"the root {show(location)} leaves its top folder with '..'")
    return root._replace(path=resolved, query=options)


def _folder(root: Uri) -> str:
    """The root's path as the beginning of the paths below it."""
    path = root.path.strip("/")
    return f"{path}/" if path else ""


def _check(uri: Uri, root: Uri | str | None, location: str, access: Access) -> Uri:
    scheme, shown = uri.scheme, show(location)
    if scheme in WRAPPERS or (scheme not in HTTP and "::" in f"{uri.authority}/{uri.path}"):
        raise chained(location)
    home = root if isinstance(root, Uri) and canonical(root.scheme) == canonical(scheme) else None
    if scheme not in {name.lower() for name in access.allow} and (home is None or home.scheme != scheme):
        raise forbidden(f'{shown}: the scheme {scheme} is not allowed: give allow=("{scheme}",) to allow it')
    path = remove_dots(uri.path)
    if path is None:
        raise access.outside(location) if home else forbidden(f"{shown} leaves its top folder with '..'")
    if home is None:
        return uri._replace(path=path)
    if uri.authority != home.authority or not f"{path}/".startswith(_folder(home)):
        raise access.outside(location)
    return uri._replace(path=path, query=uri.query if scheme in HTTP else home.query)
