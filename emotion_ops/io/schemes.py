"""URL schemes: which library opens each, and which of them name the same place. The only list of them."""

from __future__ import annotations

HTTP = ("http", "https")
"""Opened by ``emotion_ops.io.http``."""

ARROW = {name: name for name in ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")} | {"s3a": "s3", "s3n": "s3"}
"""Opened by Arrow without further packages, under the name that it knows. All others are opened by fsspec."""

FSSPEC_PREFIX = "fsspec+"
"""Before the scheme of a dataset's URI: fsspec opens it, also if Arrow could (``fsspec+s3://…``)."""

# fmt: off
WRAPPERS = frozenset((
    "async_wrapper", "asynclocal", "asyncwrapper", "blockcache", "cached", "dask", "dir", "dvc", "file", "filecache",
    "generic", "git", "libarchive", "local", "reference", "simplecache", "tar", "zip",
))
# fmt: on
"""fsspec's schemes for local files, and for locations inside other locations. A cell must not use them, since they
avoid the access check. They are forbidden even if they are allowed by name."""

_SAME_PLACE = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs", "https": "http", "local": "file"}


BUCKETS = ("s3", "gs", "abfs", "memory")
"""Schemes whose bucket or container is the first part of the path, and identifies the place without a host."""


def canonical(scheme: str) -> str:
    """One name for all schemes that open the same place: ``s3`` for ``s3a``, for example."""
    return _SAME_PLACE.get(scheme, scheme)
