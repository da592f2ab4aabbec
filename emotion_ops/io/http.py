"""One image over http or https, from an address that was checked, within a deadline and a size.

A table can hold any URL, so whoever wrote it could have this machine ask its own neighbours: cloud metadata,
databases, the router (server-side request forgery). Hence each connection resolves the name once, checks the
addresses, and goes to the checked address itself. Proxies from the environment are not used,
since a proxy would resolve the name again, out of our sight. No cookies, no credentials, no referrer.
"""

from __future__ import annotations

import functools
import http.client
import io
import ipaddress
import math
import queue
import re
import socket
import ssl
import threading
import time
from typing import Any, cast
from urllib.parse import quote, urljoin

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.io.access import Access, locate
from emotion_ops.io.bounded import Reserve, read_bounded
from emotion_ops.io.redact import reason, show
from emotion_ops.io.schemes import HTTP
from emotion_ops.io.uri import Uri

_REDIRECTS = 5
_PAUSES = (0.1, 0.4)  # seconds before the second and the third try
_HEAD_BYTES = 2**20  # more than http.client takes as status line and headers
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")


class _TryAgainError(Exception):
    """The server said that another try may work."""


def read(uri: Uri, access: Access, max_bytes: int, timeout: float, reserve: Reserve) -> bytes:
    """Get one image, following at most five redirects, each checked like the first address.

    Args:
        uri: An http or https URI that ``locate`` has admitted.
        access: What may be reached.
        max_bytes: Maximum size of the body.
        timeout: Seconds for the image, all redirects and tries included.
        reserve: Called before a body is read. Its waiting does not count as time of the image.

    Returns:
        The body, at most ``max_bytes`` bytes.

    Raises:
        RowError: ``not_found`` (404, 410), ``forbidden`` (401, 403, an address that is not public, a
            scheme that is not allowed), ``too_large``, or ``unreadable`` (all else, after up to three tries).
    """
    deadline = time.monotonic() + timeout
    for _ in range(_REDIRECTS + 1):
        answer = _persist(uri, access, max_bytes, timeout, deadline, reserve)
        if isinstance(answer, bytes):
            return answer
        uri = answer
    raise _unreadable(uri, f"more than {_REDIRECTS} redirects")


def is_public(address: str) -> bool:
    """Whether an IP address, and the IPv4 address inside it if there is one, belongs to the public internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(ip.packed[-4:])
        if inner is not None:
            return is_public(str(inner))
        if ip in _NAT64_LOCAL or ip.is_site_local or ip.teredo is not None:
            return False
    return ip.is_global and not (
        ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    )


def _persist(
    uri: Uri, access: Access, max_bytes: int, timeout: float, deadline: float, reserve: Reserve
) -> bytes | Uri:
    """The answer of the first try that gets one: the body, or where it redirects to."""
    pauses = iter(_PAUSES)
    while True:
        try:
            return _ask(uri, access, max_bytes, deadline, reserve)
        except ssl.SSLCertVerificationError as error:
            raise _unreadable(uri, f"the certificate is not to be trusted: {error.verify_message}") from None
        except (_TryAgainError, OSError, http.client.HTTPException, ValueError) as error:
            what = str(error) if isinstance(error, _TryAgainError) else reason(error)
        if time.monotonic() >= deadline:
            raise _unreadable(uri, f"no complete answer within {timeout:g} s")
        pause = next(pauses, math.inf)
        if time.monotonic() + pause >= deadline:
            raise _unreadable(uri, what)
        time.sleep(pause)


def _ask(uri: Uri, access: Access, max_bytes: int, deadline: float, reserve: Reserve) -> bytes | Uri:
    host, port = _host_and_port(uri)
    name = f"[{host}]" if ":" in host else host
    request = (
        f"GET {_target(uri)} HTTP/1.1\r\n"
        f"Host: {name}{'' if port == _default_port(uri) else f':{port}'}\r\n"
        "User-Agent: emotion-ops\r\n"
        "Accept: image/*, */*;q=0.1\r\n"
        "Accept-Encoding: identity\r\n"
        "Connection: close\r\n\r\n"
    )
    with _connect(_addresses(uri, host, port, access, deadline), deadline) as plain:
        plain.settimeout(_left(deadline))
        with _tls().wrap_socket(plain, server_hostname=host) if uri.scheme == "https" else plain as connection:
            connection.settimeout(_left(deadline))
            connection.sendall(request.encode("ascii"))
            wire = _Wire(connection, deadline, _HEAD_BYTES + 2 * max_bytes)
            with http.client.HTTPResponse(cast(socket.socket, wire), method="GET") as response:
                response.begin()
                return _answer(uri, response, access, max_bytes, functools.partial(wire.stand_still, reserve))


def _answer(
    uri: Uri, response: http.client.HTTPResponse, access: Access, max_bytes: int, reserve: Reserve
) -> bytes | Uri:
    status, shown = response.status, show(str(uri))
    if status in (301, 302, 303, 307, 308):
        return _redirect(uri, response.getheader("Location", ""), access)
    if status in (404, 410):
        raise RowError(RowErrorCode.NOT_FOUND, f"{shown} answered {status}")
    if status in (401, 403):
        raise RowError(RowErrorCode.FORBIDDEN, f"{shown} answered {status}")
    if status == 429 or status >= 500:
        raise _TryAgainError(f"the server answered {status} to each try")
    if status != 200:
        raise _unreadable(uri, f"the server answered {status}")
    encoding = response.getheader("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise _unreadable(uri, f"the body is packed with {encoding[:40]!r}, which was not asked for")
    size = response.length
    body = read_bounded(response.read, size, max_bytes, shown, reserve)
    if size is not None and len(body) < size:
        raise _TryAgainError(f"the body ended after {len(body):,} of {size:,} bytes")
    return body


def _redirect(uri: Uri, location: str, access: Access) -> Uri:
    if not location:
        raise _unreadable(uri, "a redirect to nowhere")
    # http.client reads header bytes as Latin-1; as percent codes they are again the bytes that were sent.
    location = re.sub("[\x80-\xff]", lambda match: f"%{ord(match[0]):02X}", location)
    target = locate(urljoin(str(uri), location), access)
    if isinstance(target, str) or target.scheme not in HTTP:
        what = f"{show(str(uri))} redirects to {show(location)}, which is not http(s)"
        raise RowError(RowErrorCode.FORBIDDEN, what)
    return target


def _host_and_port(uri: Uri) -> tuple[str, int]:
    if "@" in uri.authority:
        raise RowError(
            RowErrorCode.FORBIDDEN,
            f"{show(str(uri))} has credentials in it, which are never sent: give a URL that needs none (presigned)",
        )
    try:
        match = _HOST.fullmatch(uri.authority if uri.authority.isascii() else _ascii(uri.authority))
    except UnicodeError:
        match = None
    if match is None or int(match[3] or 0) > 65535:
        raise _unreadable(uri, "this names no host")
    return (match[1] or match[2]).lower().rstrip("."), int(match[3] or _default_port(uri))


def _ascii(authority: str) -> str:
    host, colon, port = authority.partition(":")
    return host.encode("idna").decode("ascii") + colon + port


def _default_port(uri: Uri) -> int:
    return 443 if uri.scheme == "https" else 80


def _target(uri: Uri) -> str:
    path = quote(uri.path, safe="/%:@!$&'()*+,;=~")
    return f"/{path}" + (f"?{quote(uri.query, safe='/%:@!$&()*+,;=~?[]')}" if uri.query else "")


def _addresses(uri: Uri, host: str, port: int, access: Access, deadline: float) -> list[Any]:
    """Resolve a host, once, to socket addresses that are all public, or to any if the host is named in access."""
    # The resolver has no timeout of its own, so it works in a thread that may be left behind.
    found: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.put(error)

    threading.Thread(target=resolve, name="emotion-ops-resolve", daemon=True).start()
    try:
        addresses = found.get(timeout=_left(deadline))
    except queue.Empty:
        raise TimeoutError("the name was not resolved in time") from None
    if isinstance(addresses, Exception):
        raise addresses
    named = host in {name.strip("[]").rstrip(".").lower() for name in access.allow_hosts}
    # One address among public ones is enough to refuse: the name would be a way in at the next try.
    if not named and not all(is_public(address[4][0].partition("%")[0]) for address in addresses):
        raise RowError(
            RowErrorCode.FORBIDDEN,
            f"{show(str(uri))}: the address of {host} is not public (private, loopback, link-local or reserved): "
            f'give allow_hosts=("{host}",) if the table may reach it',
        )
    return addresses


def _connect(addresses: list[Any], deadline: float) -> socket.socket:
    """Connect to the first address that answers, each having its share of the time that is left."""
    failure: OSError = OSError("the name has no address")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline) / (len(addresses) - tried))
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


@functools.lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is up")
    return left


def _unreadable(uri: Uri, what: str) -> RowError:
    return RowError(RowErrorCode.UNREADABLE, f"{show(str(uri))}: {what}")


class _Wire(io.RawIOBase):
    """What a socket receives, each wait ending at the deadline, and all of it at a budget of bytes.

    A socket's own timeout starts anew with each byte that drips in. The budget holds whatever the framing
    says: http.client takes a chunk of -1 bytes for "read it all".
    """

    def __init__(self, connection: socket.socket, deadline: float, budget: int) -> None:
        super().__init__()
        self._connection, self._deadline, self._budget = connection, deadline, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_left(self._deadline))
        count = self._connection.recv_into(buffer)
        self._budget -= count
        if self._budget < 0:
            raise http.client.HTTPException("far more bytes came than an image of max_bytes takes")
        return count

    def stand_still(self, reserve: Reserve, amount: int) -> None:
        """Ask for so many bytes, and put the deadline off by the wait."""
        started = time.monotonic()
        reserve(amount)
        self._deadline += time.monotonic() - started

    def makefile(self, mode: str) -> io.BufferedReader:
        """The one method that an HTTPResponse wants of a socket."""
        return io.BufferedReader(self)
