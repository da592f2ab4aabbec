"""One image over http(s): from a checked address, within a deadline and a size, without cookies or credentials."""

from __future__ import annotations

import functools
import math
import re
import ssl
import time
from collections.abc import Iterator
from urllib.parse import quote, urljoin

import httpcore

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.io.access import Access, locate
from emotion_ops.io.bounded import Reserve, read_bounded
from emotion_ops.io.network import CheckedBackend, Deadline, TooMuchDataError
from emotion_ops.io.redact import reason, show
from emotion_ops.io.schemes import HTTP
from emotion_ops.io.uri import Uri

_REDIRECTS = 5
_PAUSES = (0.1, 0.4)  # seconds before the second and the third attempt
_HEADER_BYTES = 2**20  # more than httpcore accepts as status line and headers
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?")


class _TryAgainError(Exception):
    """The server's answer says that another attempt may succeed."""


def read(uri: Uri, access: Access, max_bytes: int, timeout: float, reserve: Reserve) -> bytes:
    """Get one image. At most five redirects are followed, each checked like the first address.

    Args:
        uri: An http or https URI that ``locate`` returned.
        access: What may be reached.
        max_bytes: Maximum size of the body.
        timeout: Seconds for the image, all redirects and attempts included.
        reserve: Called before a body is read. The time that it waits does not count.

    Raises:
        RowError: ``not_found`` (404, 410), ``forbidden`` (401, 403, an address that is not public, a scheme that is
            not allowed), ``too_large``, or ``unreadable`` (everything else, after at most three attempts).
    """
    deadline = Deadline(timeout)
    for _ in range(_REDIRECTS + 1):
        answer = _try(uri, access, max_bytes, timeout, deadline, reserve)
        if isinstance(answer, bytes):
            return answer
        uri = answer
    raise _unreadable(uri, f"more than {_REDIRECTS} redirects")


def _try(uri: Uri, access: Access, max_bytes: int, timeout: float, deadline: Deadline, reserve: Reserve) -> bytes | Uri:
    """The body, or the target of a redirect, from the first attempt that gets an answer."""
    pauses = iter(_PAUSES)
    while True:
        try:
            return _request(uri, access, max_bytes, deadline, reserve)
        except ssl.SSLCertVerificationError as error:
            raise _unreadable(uri, f"the certificate cannot be trusted: {error.verify_message}") from None
        except _TryAgainError as error:
            what = str(error)
        except (OSError, httpcore.ProtocolError, TooMuchDataError, ValueError) as error:
            what = reason(error)
        if deadline.is_over_in(0):
            raise _unreadable(uri, f"no complete answer within {timeout:g} s")
        pause = next(pauses, math.inf)
        if deadline.is_over_in(pause):
            raise _unreadable(uri, what)
        time.sleep(pause)


def _request(uri: Uri, access: Access, max_bytes: int, deadline: Deadline, reserve: Reserve) -> bytes | Uri:
    host, port = _host_and_port(uri)
    shown_port = "" if port == _default_port(uri) else f":{port}"
    headers: dict[bytes | str, bytes | str] = {
        "Host": (f"[{host}]" if ":" in host else host) + shown_port,
        "User-Agent": "emotion-ops",
        "Accept": "image/*, */*;q=0.1",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    url = httpcore.URL(scheme=uri.scheme, host=host, port=port, target=_target(uri))
    backend = CheckedBackend(show(str(uri)), access.allow_hosts, deadline, _HEADER_BYTES + 2 * max_bytes)
    context = _tls() if uri.scheme == "https" else None
    with (
        httpcore.HTTPConnection(url.origin, ssl_context=context, network_backend=backend) as connection,
        connection.stream("GET", url, headers=headers) as response,
    ):
        return _answer(uri, response, access, max_bytes, deadline.exclude(reserve))


def _answer(uri: Uri, response: httpcore.Response, access: Access, max_bytes: int, reserve: Reserve) -> bytes | Uri:
    status, shown = response.status, show(str(uri))
    headers = {name.lower().decode("ascii"): value for name, value in reversed(response.headers)}
    if status in (301, 302, 303, 307, 308):
        return _redirect(uri, headers.get("location", b""), access)
    if status in (404, 410):
        raise RowError(RowErrorCode.NOT_FOUND, f"{shown} answered {status}")
    if status in (401, 403):
        raise RowError(RowErrorCode.FORBIDDEN, f"{shown} answered {status}")
    if status == 429 or status >= 500:
        raise _TryAgainError(f"the server answered {status} to each attempt")
    if status != 200:
        raise _unreadable(uri, f"the server answered {status}")
    encoding = headers.get("content-encoding", b"").decode("latin-1").strip().lower()
    if encoding not in ("", "identity"):
        raise _unreadable(uri, f"the body is compressed with {encoding[:40]!r}, which was not asked for")
    size = None if "transfer-encoding" in headers else headers.get("content-length")
    chunks: Iterator[bytes] = filter(None, response.iter_stream())
    return read_bounded(lambda count: next(chunks, b""), None if size is None else int(size), max_bytes, shown, reserve)


def _redirect(uri: Uri, location: bytes, access: Access) -> Uri:
    if not location:
        raise _unreadable(uri, "a redirect without a location")
    text = quote(location, safe="".join(map(chr, range(128))))  # bytes that are not ASCII become percent codes
    target = locate(urljoin(str(uri), text), access)
    if isinstance(target, str) or target.scheme not in HTTP:
        what = f"{show(str(uri))} redirects to {show(text)}, which is not http(s)"
        raise RowError(RowErrorCode.FORBIDDEN, what)
    return target


def _host_and_port(uri: Uri) -> tuple[str, int]:
    if "@" in uri.authority:
        raise RowError(
            RowErrorCode.FORBIDDEN,
            f"{show(str(uri))} contains credentials, which are never sent: give a URL without them (a presigned one)",
        )
    try:
        match = _HOST.fullmatch(uri.authority if uri.authority.isascii() else _ascii(uri.authority))
    except UnicodeError:
        match = None
    if match is None or int(match[3] or 0) > 65535:
        raise _unreadable(uri, "it names no host")
    return (match[1] or match[2]).lower().rstrip("."), int(match[3] or _default_port(uri))


def _ascii(authority: str) -> str:
    host, colon, port = authority.partition(":")
    return host.encode("idna").decode("ascii") + colon + port


def _default_port(uri: Uri) -> int:
    return 443 if uri.scheme == "https" else 80


def _target(uri: Uri) -> str:
    path = quote(uri.path, safe="/%:@!$&'()*+,;=~")
    return f"/{path}" + (f"?{quote(uri.query, safe='/%:@!$&()*+,;=~?[]')}" if uri.query else "")


@functools.lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _unreadable(uri: Uri, what: str) -> RowError:
    return RowError(RowErrorCode.UNREADABLE, f"{show(str(uri))}: {what}")
