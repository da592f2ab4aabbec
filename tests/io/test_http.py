"""Which URLs of a table are fetched, and what is fetched: with real servers on this machine."""

from __future__ import annotations

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.io import fetch, http as module, network
from emotion_ops.io.access import Access

CODES = RowErrorCode
HERE = "127.0.0.1"
Handler = http.server.BaseHTTPRequestHandler


class Server(http.server.ThreadingHTTPServer):
    """A server whose pages are functions. It records its requests."""

    daemon_threads = True

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[Handler], None]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stopped = threading.Event()
        super().__init__((HERE, 0), Page)

    def url(self, path: str, host: str = HERE) -> str:
        return f"http://{host}:{self.server_port}{path}"

    def handle_error(self, *_: object) -> None:
        """Half of these tests make a client disconnect."""


class Page(Handler):
    server: Server

    def do_GET(self) -> None:  # noqa: N802
        self.server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.server.pages[self.path](self)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch) -> None:
    monkeypatch.setattr(module, "_PAUSES", (0.01, 0.02))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.stopped.set()
        running.shutdown()
        thread.join()


def page(status: int = 200, body: bytes = b"", **headers: object) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def raw(*parts: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()

    return answer


def access(*schemes: str, hosts: tuple[str, ...] = (HERE,)) -> Access:
    return Access(allow=schemes or ("http",), allow_hosts=hosts)


def read(url: str, reach: Access, max_bytes: int = 2**26, timeout: float = 30.0) -> bytes:
    return fetch.read(url, reach, max_bytes, timeout=timeout)


def failure(url: str, reach: Access | None = None, **limits: Any) -> RowError:
    with pytest.raises(RowError) as caught:
        read(url, reach or access(), **limits)
    error = caught.value
    assert type(error) is RowError
    assert len(error.detail) < 600
    assert "\n" not in error.detail
    assert error.__suppress_context__ or error.__context__ is None
    return error


def code(url: str, reach: Access | None = None, **limits: Any) -> RowErrorCode:
    return failure(url, reach, **limits).code


# Responses


def test_the_body_is_returned(server: Server) -> None:
    server.pages["/a.png"] = page(body=b"image" * 100_000)
    assert read(server.url("/a.png"), access()) == b"image" * 100_000


def test_the_request_has_no_cookies_no_credentials_and_no_proxy(server: Server, monkeypatch) -> None:
    server.pages["/a.png"] = page(body=b"x", Set_Cookie="a=b")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    read(server.url("/a.png"), access())
    read(server.url("/a.png"), access())
    assert server.requests[1] == (
        "/a.png",
        {
            "host": f"{HERE}:{server.server_port}",
            "user-agent": "emotion-ops",
            "accept": "image/*, */*;q=0.1",
            "accept-encoding": "identity",
            "connection": "close",
        },
    )


def test_a_path_is_quoted_once_and_its_query_is_unchanged(server: Server) -> None:
    for asked in ("/%C3%A4%20b/c.png?sig=a%2Fb&x=%22", "/"):
        server.pages[asked] = page(body=b"x")
    assert read(server.url('/ä b/c.png?sig=a%2Fb&x="#fragment'), access()) == b"x"
    assert read(server.url(""), access()) == b"x"


def test_nothing_in_a_url_becomes_a_header(server: Server) -> None:
    server.pages["/a%0D%0AX:%20y"] = page(body=b"x")
    assert read(server.url("/a\r\nX: y"), access()) == b"x"
    assert code(f"http://{HERE}\r\nX: y/a") == CODES.UNREADABLE


def test_relative_cells_start_from_a_root_on_the_web(server: Server) -> None:
    server.pages["/images/a.png"] = page(body=b"a")
    reach = Access(server.url("/images"), allow_hosts=(HERE,))
    assert read("a.png", reach) == b"a"
    assert read("sub/../a.png", reach) == b"a"
    for outside in ("../a.png", "%2e%2e/a.png", server.url("/a.png"), "//other/a.png", "..\\a.png"):
        assert code(outside, reach) == CODES.FORBIDDEN
    assert code(f"http://{HERE}@other/images/a.png", reach) == CODES.FORBIDDEN


def test_a_redirect_does_not_leave_the_root(server: Server) -> None:
    server.pages["/images/a.png"] = page(302, Location="/secret")
    server.pages["/secret"] = page(body=b"secret")
    assert code("a.png", Access(server.url("/images"), allow_hosts=(HERE,))) == CODES.FORBIDDEN


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, "not_found"), (410, "not_found"), (401, "forbidden"), (403, "forbidden"), (418, "unreadable")],
)
def test_a_status_has_its_code_and_is_requested_once(server: Server, status: int, expected: str) -> None:
    server.pages["/a.png?sig=hunter2"] = page(status)
    error = failure(server.url("/a.png?sig=hunter2"))
    assert error.code == expected
    assert str(status) in error.detail
    assert "hunter2" not in error.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_recovers_is_tried_again(server: Server, status: int) -> None:
    answers = iter([page(status), page(status), page(body=b"image")])
    server.pages["/a.png"] = lambda handler: next(answers)(handler)
    assert read(server.url("/a.png"), access()) == b"image"


def test_a_server_that_does_not_recover_is_tried_three_times(server: Server) -> None:
    server.pages["/a.png"] = page(503)
    error = failure(server.url("/a.png"))
    assert (error.code, len(server.requests)) == (CODES.UNREADABLE, 3)
    assert "503" in error.detail


def test_a_refused_connection_is_unreadable_and_retries_stay_within_the_deadline(monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        began = time.monotonic()
        monkeypatch.setattr(module, "_PAUSES", (60, 60))
        error = failure(f"http://{HERE}:{taken.getsockname()[1]}/a.png", access(), timeout=0.3)
    assert time.monotonic() - began < 50
    assert (error.code, "refused" in error.detail) == (CODES.UNREADABLE, True)


def test_a_compressed_body_is_refused(server: Server) -> None:
    server.pages["/a.png"] = page(body=b"\x1f\x8b", Content_Encoding="gzip")
    error = failure(server.url("/a.png"))
    assert (error.code, "gzip" in error.detail) == (CODES.UNREADABLE, True)


def test_a_response_that_is_not_http_is_unreadable(server: Server) -> None:
    server.pages["/a.png"] = raw(b"SSH-2.0-OpenSSH\r\n")
    assert code(server.url("/a.png")) == CODES.UNREADABLE


# Sizes


def test_a_content_length_over_the_limit_is_refused_before_the_body_is_read(server: Server) -> None:
    server.pages["/a.png"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n")
    assert code(server.url("/a.png"), access(), max_bytes=10) == CODES.TOO_LARGE


def test_a_body_of_exactly_the_limit_is_read(server: Server) -> None:
    server.pages["/a.png"] = page(body=b"x" * 10)
    assert read(server.url("/a.png"), access(), max_bytes=10) == b"x" * 10


def endless(head: bytes, part: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.wfile.write(head)
        while not handler.server.stopped.is_set():  # type: ignore[attr-defined]
            handler.wfile.write(part)

    return answer


def test_an_endless_body_stops_at_the_limit(server: Server) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    server.pages["/plain"] = endless(b"HTTP/1.1 200 OK\r\n\r\n", chunk)
    server.pages["/chunked"] = endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)
    server.pages["/lying"] = endless(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", chunk
    )
    for path in ("/plain", "/chunked", "/lying"):
        assert code(server.url(path), access(), max_bytes=100_000) == CODES.TOO_LARGE


def test_an_invalid_chunk_size_does_not_read_everything(server: Server) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
    server.pages["/a.png"] = endless(head, b"x" * 65536)
    assert code(server.url("/a.png"), access(), max_bytes=1000) == CODES.UNREADABLE


def test_endless_headers_are_unreadable(server: Server) -> None:
    server.pages["/many"] = endless(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 100)
    server.pages["/long"] = endless(b"HTTP/1.1 200 OK\r\nA: ", b"b" * 65536)
    server.pages["/continue"] = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
    for path in server.pages:
        assert code(server.url(path), access(), max_bytes=1000, timeout=5) == CODES.UNREADABLE


def test_a_body_that_ends_early_is_unreadable_and_never_a_part_of_an_image(server: Server) -> None:
    server.pages["/plain"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")
    server.pages["/chunked"] = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhalf")
    for path in server.pages:
        assert code(server.url(path)) == CODES.UNREADABLE


def test_a_body_that_ends_early_once_is_requested_again(server: Server) -> None:
    answers = iter([raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"), page(body=b"whole")])
    server.pages["/a.png"] = lambda handler: next(answers)(handler)
    assert read(server.url("/a.png"), access()) == b"whole"


# Time


@pytest.mark.parametrize(
    ("head", "drip"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b""),
    ],
)
def test_a_server_that_sends_one_byte_at_a_time_is_given_up_at_the_deadline(
    server: Server, head: bytes, drip: bytes
) -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(head)
        while not handler.server.stopped.wait(0.05):  # type: ignore[attr-defined]
            handler.wfile.write(drip)

    server.pages["/a.png"] = answer
    began = time.monotonic()
    error = failure(server.url("/a.png"), access(), timeout=0.4)
    assert time.monotonic() - began > 0.35
    assert (error.code, "0.4 s" in error.detail) == (CODES.UNREADABLE, True)


def test_the_deadline_is_for_all_redirects_together(server: Server) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.2)
        page(302, Location=handler.path)(handler)

    server.pages["/a"] = slow
    assert "0.5 s" in failure(server.url("/a"), access(), timeout=0.5).detail
    assert len(server.requests) <= 4


def test_a_resolver_that_hangs_is_given_up_at_the_deadline(monkeypatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(250))
    assert "0.2 s" in failure("http://host/a.png", access(), timeout=0.2).detail
    release.set()


def test_a_handshake_that_hangs_is_given_up_at_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind((HERE, 0))
        silent.listen()
        error = failure(f"https://{HERE}:{silent.getsockname()[1]}/", access("https"), timeout=0.3)
        assert (error.code, "0.3 s" in error.detail) == (CODES.UNREADABLE, True)


# Addresses that a table may not reach


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "127.0.0.1",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "0.0.0.0",
        "0",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "\uff11\uff12\uff17.0.0.1",
    ],
)
def test_this_machine_is_not_reached_by_any_spelling(server: Server, host: str) -> None:
    server.pages["/a.png"] = page(body=b"secret")
    error = failure(server.url("/a.png", host), access(hosts=()))
    assert error.code == CODES.FORBIDDEN
    assert "allow_hosts" in error.detail
    assert server.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1",
        "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fc00::1",
        "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "::127.0.0.1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_recognised(address: str) -> None:
    assert not network.is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_are_recognised(address: str) -> None:
    assert network.is_public(address)


def test_the_metadata_service_is_not_reached() -> None:
    assert code("http://169.254.169.254/latest/meta-data/", access(hosts=())) == CODES.FORBIDDEN


def resolver(*addresses: tuple[str, int]) -> Callable[..., list[tuple[object, ...]]]:
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]


def test_a_host_with_one_private_address_among_public_ones_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver(("1.1.1.1", 80), ("10.0.0.1", 80)))
    assert code("http://host/a.png", access(hosts=())) == CODES.FORBIDDEN


def test_the_connection_goes_to_the_address_that_was_checked(server: Server, monkeypatch) -> None:
    server.pages["/a.png"] = page(body=b"image")
    asked: list[object] = []
    answers = [resolver((HERE, server.server_port))(), resolver(("10.0.0.1", 80))()]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *what, **_: asked.append(what) or answers[len(asked) - 1])
    monkeypatch.setattr(network, "is_public", lambda address: address == HERE)
    assert read("http://rebinding.example/a.png", access(hosts=())) == b"image"
    assert asked == [("rebinding.example", 80)]
    assert server.requests[0][1]["host"] == "rebinding.example"
    assert code("http://rebinding.example/a.png", access(hosts=())) == CODES.FORBIDDEN


def test_the_second_address_is_tried_if_the_first_does_not_answer(server: Server, monkeypatch) -> None:
    server.pages["/a.png"] = page(body=b"image")
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        monkeypatch.setattr(socket, "getaddrinfo", resolver(taken.getsockname(), (HERE, server.server_port)))
        assert read("http://host/a.png", access(hosts=("host",))) == b"image"


def test_an_allowed_host_may_be_spelled_in_any_case_and_with_a_final_dot(server: Server) -> None:
    server.pages["/a.png"] = page(body=b"image")
    for named in ("localhost", "LocalHost", "localhost."):
        assert read(server.url("/a.png", "LOCALHOST"), access(hosts=(named,))) == b"image"
    assert code(server.url("/a.png"), access(hosts=("localhost",))) == CODES.FORBIDDEN


def test_a_name_without_an_address_is_unreadable(monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert "Name or service not known" in failure("http://no.example/").detail


@pytest.mark.parametrize(
    "authority",
    ["", ":80", "a:b", "a:99999", "[::1", "[zz]", "a b", "a%00b", "evil\\.good", "x..y", "[fe80::1%25lo]", "é" * 99],
)
def test_an_authority_without_a_valid_host_is_unreadable(authority: str) -> None:
    assert code(f"http://{authority}/a.png") == CODES.UNREADABLE


# Redirects


def test_a_redirect_is_followed(server: Server) -> None:
    server.pages["/b/a.png"] = page(body=b"image")
    server.pages["/c/%C3%A4"] = page(body=b"umlaut")
    for status in (301, 302, 303, 307, 308):
        server.pages["/a.png"] = page(status, Location="/b/a.png")
        assert read(server.url("/a.png"), access()) == b"image"
    server.pages["/b/x"] = raw("HTTP/1.1 302 F\r\nLocation: ../c/ä\r\n\r\n".encode())
    assert read(server.url("/b/x"), access()) == b"umlaut"


def test_a_redirect_to_an_address_that_is_not_public_is_refused(server: Server) -> None:
    server.pages["/secret"] = page(body=b"secret")
    targets = ["http://169.254.169.254/latest/", "http://10.0.0.1/", "//[::1]/", server.url("/secret", "localhost")]
    for target in targets:
        server.pages["/a.png"] = page(302, Location=target)
        assert code(server.url("/a.png")) == CODES.FORBIDDEN
    assert {path for path, _ in server.requests} == {"/a.png"}


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "https://127.0.0.1/", "ftp://127.0.0.1/a", "memory://bucket/a", "data:image/png;base64,aa"],
)
def test_a_redirect_to_a_scheme_that_is_not_allowed_or_not_http_is_forbidden(server: Server, target: str) -> None:
    server.pages["/a.png"] = page(302, Location=target)
    assert code(server.url("/a.png"), access("http", "memory")) == CODES.FORBIDDEN


def test_six_redirects_are_too_many_and_five_are_not(server: Server) -> None:
    for number in range(1, 7):
        server.pages[f"/{number}"] = page(302, Location=f"/{number - 1}")
    server.pages["/0"] = page(body=b"image")
    assert read(server.url("/5"), access()) == b"image"
    assert code(server.url("/6")) == CODES.UNREADABLE


def test_a_redirect_without_a_location_is_unreadable(server: Server) -> None:
    server.pages["/a.png"] = page(302)
    assert code(server.url("/a.png")) == CODES.UNREADABLE


def test_credentials_are_neither_sent_nor_shown(server: Server) -> None:
    server.pages["/a.png"] = page(302, Location=server.url("/b.png", f"me:hunter2@{HERE}"))
    for url in (server.url("/a.png"), server.url("/b.png", f"me:hunter2@{HERE}")):
        error = failure(url)
        assert (error.code, "hunter2" in error.detail) == (CODES.FORBIDDEN, False)
    assert [path for path, _ in server.requests] == ["/a.png"]
    assert "authorization" not in server.requests[0][1]


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=images.example"
    files = ["-addext", "subjectAltName=DNS:images.example", "-out", str(chain), "-keyout", str(key)]
    subprocess.run(["openssl", *options.split(), *files], check=True, capture_output=True, timeout=30)
    return chain, key


@pytest.fixture
def secure(server: Server, certificate, monkeypatch) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda _, name, __: server.requests.append((f"sni {name}", {}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setattr(socket, "getaddrinfo", resolver((HERE, server.server_port)))
    module._tls.cache_clear()
    server.pages["/a.png"] = page(body=b"image")
    return server


@pytest.fixture
def trusted(secure: Server, certificate, monkeypatch) -> Server:
    monkeypatch.setattr(module, "_tls", lambda: ssl.create_default_context(cafile=certificate[0]))
    return secure


def test_tls_sends_the_host_name_and_verifies_it(trusted: Server) -> None:
    reach = access("https", hosts=("images.example",))
    assert read("https://IMAGES.example/a.png", reach) == b"image"
    assert trusted.requests[0][0] == "sni images.example"
    assert trusted.requests[1][1]["host"] == "images.example"


def test_a_certificate_for_another_name_is_refused_at_once(trusted: Server) -> None:
    error = failure("https://other.example/a.png", access("https", hosts=("other.example",)))
    assert (error.code, "certificate" in error.detail) == (CODES.UNREADABLE, True)
    assert [path for path, _ in trusted.requests] == ["sni other.example"]


def test_a_self_signed_certificate_is_refused(secure: Server) -> None:
    error = failure("https://images.example/a.png", access("https", hosts=("images.example",)))
    assert (error.code, "certificate" in error.detail) == (CODES.UNREADABLE, True)


def test_a_downgrade_to_http_is_refused_unless_http_is_allowed_by_name(trusted: Server) -> None:
    trusted.pages["/a.png"] = page(302, Location="http://images.example/b.png")
    error = failure("https://images.example/a.png", access("https", hosts=("images.example",)))
    assert (error.code, 'allow=("http",)' in error.detail) == (CODES.FORBIDDEN, True)
    both = access("https", "http", hosts=("images.example",))
    assert code("https://images.example/a.png", both, timeout=2) == CODES.UNREADABLE  # it went there; TLS answers
