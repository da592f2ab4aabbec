"""Opening a URL's filesystem, with Arrow or with fsspec: the one place that does it, for cells and for datasets."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

from emotion_ops.io.schemes import ARROW, FSSPEC_PREFIX
from emotion_ops.io.uri import forbidden

_S3_ATTEMPTS = 5  # of one request


def is_arrow(uri: str) -> bool:
    """Whether Arrow opens a URI; fsspec opens all others."""
    return uri.partition("://")[0] in ARROW


def open_arrow(uri: str) -> tuple[Any, str]:
    """Open a URI with Arrow.

    Returns:
        A ``pyarrow.fs.FileSystem``, and the path in it.

    Raises:
        ValueError: The URI cannot be used.
        pyarrow.ArrowException: The same.
    """
    from pyarrow import fs

    scheme, _, rest = uri.partition("://")
    filesystem, path = fs.FileSystem.from_uri(f"{ARROW[scheme]}://{rest}")
    if filesystem.type_name == "s3":
        retries = fs.AwsStandardS3RetryStrategy(max_attempts=_S3_ATTEMPTS)
        _, (options,) = filesystem.__reduce__()
        proxy = options["proxy_options"]
        options = {**options, "proxy_options": proxy if proxy["host"] else None}
        given = {name: value for name, value in options.items() if value not in (None, "", -1.0)}
        filesystem = fs.S3FileSystem(**given, retry_strategy=retries)
    return filesystem, path


def open_fsspec(uri: str, **options: Any) -> tuple[Any, str]:
    """Open a URI with fsspec.

    Returns:
        An ``fsspec.AbstractFileSystem``, and the path in it.

    Raises:
        ImportError: The scheme needs a package that is not installed.
        ValueError: fsspec does not know the scheme.
    """
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(uri.removeprefix(FSSPEC_PREFIX), **options)
    return filesystem, path


def open_s3fs(arrow: Any) -> Any:
    """The same store as Arrow's S3 filesystem, with the same credentials or those from the same usual places.

    Returns:
        An ``s3fs.S3FileSystem``; None if s3fs is not installed or does not have the options of Arrow's.
    """
    _, (options,) = arrow.__reduce__()
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


@functools.lru_cache(maxsize=32)
def open_bucket(scheme: str, authority: str, options: str, process: int) -> tuple[Callable[[str], Any], str]:
    """Open what is at one authority, for the cells of a table.

    Args:
        scheme: The scheme.
        authority: The bucket, or the host.
        options: Options of Arrow's filesystems, as a query.
        process: The process's number: a forked child must not use the clients of its parent.

    Returns:
        A function that opens a path for reading, and the path of the authority's top folder.

    Raises:
        RowError: ``forbidden``: the scheme opens local files.
        Exception: As ``open_arrow`` and ``open_fsspec``.
    """
    uri = f"{scheme}://{authority}/"
    if scheme in ARROW:
        filesystem, base = open_arrow(f"{uri}?{options}" if options else uri)
        return filesystem.open_input_file, base  # open_input_stream would decompress a key that ends with .gz
    filesystem, base = open_fsspec(uri)
    if getattr(filesystem, "local_file", False):
        raise forbidden(f"the scheme {scheme} opens local files, which plain paths name")
    return filesystem.open, base
