"""An S3 server in a separate process, and a proxy in front of it that fails on request.

Both use real HTTP: the server is moto's. The proxy returns errors, delays a response beyond the client's timeout, or
forwards a request and closes the connection before the response.
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

_ERROR = """<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>"""
_CODES = {500: "InternalError", 503: "SlowDown", 403: "AccessDenied"}


@dataclass
class Fault:
    """What happens to requests of a kind.

    ``kind`` is ``error`` (the proxy responds with ``status`` and does not ask the server), ``late`` (the response comes
    after ``seconds``), ``cut`` (the server does it, and the proxy closes the connection without a response), or ``before``
    and ``after`` (``then`` is called before or after the server is asked; the request is forwarded). With a ``rate``, this
    share of the requests fails at random.
    """

    kind: str
    method: str
    path: str
    times: int = 1
    skip: int = 0
    status: int = 500
    seconds: float = 0.0
    then: Callable[[], None] = lambda: None
    rate: float = 0.0
    hits: int = 0
    random: random.Random = field(default_factory=lambda: random.Random(0))

    def meets(self, method: str, path: str) -> bool:
        """Whether it is this request's turn."""
        if not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        if self.rate:
            is_met = self.random.random() < self.rate
            self.hits += is_met
            return is_met
        self.hits += 1
        return self.skip < self.hits <= self.skip + self.times


@dataclass(frozen=True)
class Request:
    """A request that the proxy saw: its condition, and the status of the response."""

    method: str
    path: str
    condition: str | None
    status: int


@dataclass
class Proxy:
    """The proxy: its address, the pending faults, and the requests that it saw."""

    target: tuple[str, int]
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, kind: str, method: str, path: str, **how: Any) -> Fault:
        """Let requests fail from now on."""
        fault = Fault(kind, method, path, **how)
        self.faults.append(fault)
        return fault

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault whose turn it is."""
        with self.lock:
            return next((fault for fault in list(self.faults) if fault.meets(method, path)), None)

    def count(self, method: str, path: str) -> int:
        """How many requests of a kind came by."""
        return sum(bool(re.fullmatch(method, r.method) and re.search(path, r.path)) for r in list(self.seen))


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        dropped = ("transfer-encoding", "connection", "expect", "content-length")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        if self.command in ("PUT", "POST") or body:
            headers["Content-Length"] = str(len(body))
        connection = http.client.HTTPConnection(*self.server.proxy.target, timeout=60)
        try:
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        has_length = False
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection"):
                has_length |= name.lower() == "content-length"
                self.send_header(name, value)
        if not has_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _serve(self) -> None:
        path, body = unquote(self.path), self._body()
        condition = self.headers.get("If-None-Match")
        fault = self.server.proxy.take_fault(self.command, path)
        kind = fault.kind if fault else ""
        if fault and kind == "error":
            self.server.proxy.seen.append(Request(self.command, path, condition, fault.status))
            self._respond(
                fault.status,
                [("Content-Type", "application/xml")],
                _ERROR.format(code=_CODES[fault.status]).encode(),
            )
            return
        if fault and kind == "before":
            fault.then()
        with self.server.proxy.one_at_a_time:  # the server looks and writes in two steps, which a store does in one
            status, headers, response = self._forward(body)
        self.server.proxy.seen.append(Request(self.command, path, condition, status))
        if fault and kind == "after":
            fault.then()
        if fault and kind == "late":
            time.sleep(fault.seconds)
        if kind == "cut":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._respond(status, headers, response)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, *_: Any) -> None:
        """Tests kill clients."""


@contextmanager
def running_server() -> Iterator[int]:
    """Start the S3 server; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait(10)


@contextmanager
def running_proxy(target_port: int) -> Iterator[Proxy]:
    """Start the proxy in front of a server."""
    proxy = Proxy(("127.0.0.1", target_port))
    server = _Server(proxy)
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
