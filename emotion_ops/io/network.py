"""Connections for http(s) whose address was checked first, with one deadline and one limit of bytes for everything.

A table can contain any URL. Its author could make this machine send requests to its own network: cloud metadata,
databases, the router (server-side request forgery). So each connection resolves the host name once, checks the
addresses, and connects to a checked address. Proxies from the environment are not used, because a proxy would resolve
the name again.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from emotion_ops.errors import RowError, RowErrorCode

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")


class TooMuchDataError(Exception):
    """The server sent more bytes than an image within the limits can have."""


class Deadline:
    """The time that is left for one image.

    Args:
        seconds: From now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left.

        Raises:
            TimeoutError: None are left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        return left

    def is_over_in(self, seconds: float) -> bool:
        """Whether no time will be left after so many seconds."""
        return time.monotonic() + seconds >= self._end

    def exclude(self, wait: Callable[[int], None]) -> Callable[[int], None]:
        """The same function; the time that it takes does not count."""

        def call(amount: int) -> None:
            started = time.monotonic()
            wait(amount)
            self._end += time.monotonic() - started

        return call


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to a host if its addresses are public, or if the host is in ``allow_hosts``.

    Args:
        shown: The URL, for error messages.
        allow_hosts: Hosts whose addresses may be private.
        deadline: Ends every wait: for the resolver, the connection, the TLS handshake, and each byte.
        max_bytes: Maximum bytes that may be received, whatever the framing of the response says.
    """

    def __init__(self, shown: str, allow_hosts: Iterable[str], deadline: Deadline, max_bytes: int) -> None:
        self._shown, self._deadline, self._max_bytes = shown, deadline, max_bytes
        self._allowed = {name.strip("[]").rstrip(".").lower() for name in allow_hosts}

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve the name once, check every address, and connect to the first that answers.

        Raises:
            RowError: ``forbidden``: an address is not public.
            OSError: There is no address, none answers, or the time is up.
        """
        addresses = self._resolve(host, port)
        # One private address among public ones is refused too: the next attempt could connect to it.
        if host not in self._allowed and not all(is_public(one[4][0].partition("%")[0]) for one in addresses):
            raise RowError(
                RowErrorCode.FORBIDDEN,
                f"{self._shown}: the address of {host} is not public (private, loopback, link-local or reserved): "
                f'give allow_hosts=("{host}",) if the table may reach it',
            )
        return _Stream(self._connect(addresses), self._deadline, self._max_bytes)

    def _resolve(self, host: str, port: int) -> list[Any]:
        # The resolver has no timeout, so it runs in a thread that is not waited for when the time is up.
        found: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

        def resolve() -> None:
            try:
                found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except Exception as error:
                found.put(error)

        threading.Thread(target=resolve, name="emotion-ops-resolve", daemon=True).start()
        try:
            addresses = found.get(timeout=self._deadline.left())
        except queue.Empty:
            raise TimeoutError("the name was not resolved in time") from None
        if isinstance(addresses, Exception):
            raise addresses
        return addresses

    def _connect(self, addresses: list[Any]) -> socket.socket:
        """Try each address; each may take an equal share of the time that is left."""
        failure: OSError = OSError("the name has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(self._deadline.left() / (len(addresses) - tried))
                connection.connect(address)
                return connection
            except OSError as error:
                connection.close()
                failure = error
        raise failure


class _Stream(httpcore.NetworkStream):
    """A connection whose waits all end at the deadline.

    A socket's own timeout begins again with each byte, so a server that sends one byte at a time could go on for ever.
    """

    def __init__(self, connection: socket.socket, deadline: Deadline, max_bytes: int) -> None:
        self._connection, self._deadline, self._bytes_left = connection, deadline, max_bytes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._connection.settimeout(self._deadline.left())
        data = self._connection.recv(max_bytes)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise TooMuchDataError("many more bytes were received than an image of max_bytes has")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._connection.settimeout(self._deadline.left())
        self._connection.sendall(buffer)

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            self._connection.settimeout(self._deadline.left())
            secured = ssl_context.wrap_socket(self._connection, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        return _Stream(secured, self._deadline, self._bytes_left)


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
