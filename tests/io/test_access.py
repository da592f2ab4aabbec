"""Which paths and URIs of a table may be read, and what is read."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import socket
import string
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings, strategies as st

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.io import fetch, filesystems as module
from emotion_ops.io.access import Access, locate
from emotion_ops.io.redact import redact
from emotion_ops.io.uri import Uri

CODES = RowErrorCode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with images in it, and secrets outside the root."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "face.png").write_bytes(b"face")
    (root / "sub" / "deep.png").write_bytes(b"deep")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root-sibling").mkdir()
    (tmp_path / "root-sibling" / "x").write_bytes(b"secret")
    return root


@pytest.fixture
def memory() -> fsspec.AbstractFileSystem:
    files = fsspec.filesystem("memory")
    files.pipe({"/bucket/images/a.png": b"a", "/bucket/images/sub/b.png": b"b", "/bucket/secret": b"secret"})
    files.pipe({"/other/images/a.png": b"secret", "/bucket/images-sibling/a.png": b"secret"})
    yield files
    files.rm("/bucket", recursive=True)
    files.rm("/other", recursive=True)


def read(location: str, access: Access, max_bytes: int = 2**26) -> bytes:
    return fetch.read(location, access, max_bytes)


def failure(location: str, access: Access | None = None, max_bytes: int = 2**26) -> RowError:
    with pytest.raises(RowError) as caught:
        read(location, access or Access(), max_bytes)
    error = caught.value
    assert type(error) is RowError
    assert len(error.detail) < 500
    assert "\n" not in error.detail
    assert error.__suppress_context__ or error.__context__ is None, "the cause would bring what the detail leaves out"
    return error


def code(location: str, access: Access | None = None, max_bytes: int = 2**26) -> RowErrorCode:
    return failure(location, access, max_bytes).code


# Local paths


def test_the_file_of_a_path_is_read(folder: Path) -> None:
    assert read(str(folder / "face.png"), Access()) == b"face"


def test_a_relative_path_starts_at_the_root(folder: Path) -> None:
    assert read("sub/deep.png", Access(str(folder))) == b"deep"
    assert read("./sub/../face.png", Access(folder.as_uri())) == b"face"


def test_without_a_root_a_relative_path_starts_at_the_working_directory(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    assert read("sub/deep.png", Access()) == b"deep"
    assert read("../secret", Access()) == b"secret"
    assert read("deep.png", Access("sub")) == b"deep"


def test_an_absolute_path_inside_the_root_is_read(folder: Path) -> None:
    assert read(str(folder / "face.png"), Access(str(folder))) == b"face"


def test_an_empty_path_is_missing() -> None:
    assert code("") == CODES.MISSING


@pytest.mark.parametrize("location", ["a\0b", "file:///a%00b", "s3://b/a\0b"])
def test_a_nul_byte_is_unreadable(location: str) -> None:
    error = failure(location, Access(allow=("s3",)))
    assert error.code == CODES.UNREADABLE
    assert "\0" not in error.detail


def test_a_path_with_nothing_there_is_not_found(folder: Path) -> None:
    assert code("no.png", Access(str(folder))) == CODES.NOT_FOUND
    assert code("face.png/no.png", Access(str(folder))) == CODES.NOT_FOUND
    assert code("face.png", Access(str(folder / "gone"))) == CODES.NOT_FOUND


def test_a_tilde_is_a_name_like_any_other(folder: Path) -> None:
    (folder / "~").mkdir()
    (folder / "~" / "x").write_bytes(b"tilde")
    assert read("~/x", Access(str(folder))) == b"tilde"


@pytest.mark.parametrize("name", ["C:\\images\\a.png", "c:/a.png", "IMG 10:30.png", "a%20b.png", "a?b#c.png", "a::b"])
def test_a_name_that_only_looks_like_a_uri_is_a_file_name(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"odd")
    assert read(name, Access(str(folder))) == b"odd"


def test_a_directory_is_unreadable(folder: Path) -> None:
    error = failure("sub", Access(str(folder)))
    assert (error.code, error.detail) == (CODES.UNREADABLE, "'sub' is a directory")


def test_a_fifo_does_not_block(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    assert code("fifo", Access(str(folder))) == CODES.UNREADABLE


def test_a_fifo_with_a_writer_is_not_read(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    end = os.open(folder / "fifo", os.O_RDWR)
    os.write(end, b"from the pipe")
    try:
        assert code("fifo", Access(str(folder))) == CODES.UNREADABLE
    finally:
        os.close(end)


def test_a_socket_and_a_device_are_unreadable(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)  # the name of a socket has to be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert code("socket") == CODES.UNREADABLE
    assert code("/dev/zero") == CODES.UNREADABLE


@pytest.mark.parametrize(
    "location", ["../secret", "sub/../../secret", "../root-sibling/x", "/etc/passwd", "file:///etc/passwd", ".."]
)
def test_a_path_out_of_the_root_is_forbidden(folder: Path, location: str) -> None:
    assert code(location, Access(str(folder))) == CODES.FORBIDDEN


def test_a_symlink_out_of_the_root_is_forbidden(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)
    (folder / "chain").symlink_to("up/secret")
    for location in ("link", "up/secret", "chain", "up/root/../secret"):
        assert code(location, Access(str(folder))) == CODES.FORBIDDEN


def test_the_message_shows_the_cell_and_the_root_and_not_the_target_of_a_symlink(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")
    detail = failure("link", Access(str(folder))).detail
    assert "'link'" in detail
    assert "secret" not in detail


def test_symlinks_inside_the_root_and_to_the_root_are_followed(folder: Path) -> None:
    (folder / "inner").symlink_to("sub/deep.png")
    (folder.parent / "alias").symlink_to(folder)
    assert read("inner", Access(str(folder))) == b"deep"
    assert read("face.png", Access(str(folder.parent / "alias"))) == b"face"
    assert read(str(folder / "face.png"), Access(str(folder.parent / "alias"))) == b"face"


def test_a_circle_of_symlinks_is_unreadable(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    for access in (Access(), Access(str(folder))):
        assert code(str(folder / "a"), access) == CODES.UNREADABLE


def test_a_symlink_that_appears_after_the_check_is_not_followed(folder: Path, monkeypatch) -> None:
    opened = os.open

    def swap(path, flags, *rest):
        (folder / "face.png").unlink()
        (folder / "face.png").symlink_to(folder.parent / "secret")
        return opened(path, flags, *rest)

    monkeypatch.setattr(os, "open", swap)
    assert code("face.png", Access(str(folder))) == CODES.UNREADABLE


def test_no_permission_is_forbidden(folder: Path, monkeypatch) -> None:
    (folder / "face.png").chmod(0)
    if os.geteuid() == 0:  # whom no mode keeps out

        def refuse(*_):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    assert code("face.png", Access(str(folder))) == CODES.FORBIDDEN


def test_an_impossible_file_name_is_unreadable(folder: Path) -> None:
    assert "name too long" in failure("x" * 5000, Access(str(folder))).detail
    assert code("\ud800", Access(str(folder))) == CODES.UNREADABLE


def test_a_file_over_the_limit_is_not_read(folder: Path, monkeypatch) -> None:
    with (folder / "huge").open("wb") as file:
        file.truncate(2**40)
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("read"))
    assert code("huge", Access(str(folder))) == CODES.TOO_LARGE


def test_a_file_of_exactly_the_limit_is_read(folder: Path) -> None:
    assert read("face.png", Access(str(folder)), max_bytes=4) == b"face"
    assert code("face.png", Access(str(folder)), max_bytes=3) == CODES.TOO_LARGE


def test_a_file_that_grows_while_it_is_read_stops_at_the_limit(folder: Path, monkeypatch) -> None:
    taken, once = [], os.read

    def grow(file, count):
        with (folder / "face.png").open("ab") as more:
            more.write(b"x" * 50_000)
        taken.append(once(file, count))
        return taken[-1]

    monkeypatch.setattr(os, "read", grow)
    assert code("face.png", Access(str(folder)), max_bytes=200_000) == CODES.TOO_LARGE
    assert sum(map(len, taken)) == 200_001


def test_a_file_whose_size_says_zero_is_read_to_its_end() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")
    assert b"Pid" in read("/proc/self/status", Access())


def test_an_error_of_the_disk_is_unreadable_with_the_systems_message(folder: Path, monkeypatch) -> None:
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    error = failure("face.png", Access(str(folder)))
    assert (error.code, error.detail) == (CODES.UNREADABLE, "'face.png': Input/output error")


def test_no_descriptor_is_left_open(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    before = len(list(Path("/dev/fd").iterdir()))
    for location in ("face.png", "fifo", "sub", "no", "../secret") * 5:
        try:
            read(location, Access(str(folder)), max_bytes=3)
        except RowError:
            continue
    assert len(list(Path("/dev/fd").iterdir())) == before


segments = st.lists(st.sampled_from(["..", ".", "", "sub", "up", "root", "secret", "face.png", "~", "x"]), max_size=8)


@settings(max_examples=200, deadline=None)
@given(segments, st.booleans())
def test_no_path_of_any_parts_reads_outside_the_root(tmp_path_factory, parts, absolute) -> None:
    base = tmp_path_factory.getbasetemp() / "joins"
    root = base / "root"
    if not base.exists():
        (root / "sub").mkdir(parents=True)
        (root / "up").symlink_to(base)
        for path, text in ((root / "face.png", b"in"), (root / "sub" / "x", b"in"), (base / "secret", b"out")):
            path.write_bytes(text)
        (base / "x").write_bytes(b"out")
    location = (f"{root}/" if absolute else "") + "/".join(parts)
    with contextlib.suppress(RowError):
        assert read(location, Access(str(root))) == b"in"


# file: URIs


def test_a_file_uri_is_decoded(folder: Path) -> None:
    odd = folder / "ä b#c?d%.png"
    odd.write_bytes(b"odd")
    assert read(odd.as_uri(), Access()) == b"odd"
    assert read("FILE://LocalHost" + odd.as_uri().removeprefix("file://"), Access()) == b"odd"
    assert read(f"file:{folder}/face.png", Access(str(folder))) == b"face"


def test_a_file_uri_with_bytes_that_are_not_utf8_finds_its_file(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(b"latin")
    assert read(f"{folder.as_uri()}/%FF.png", Access()) == b"latin"


def test_a_file_uri_of_another_machine_is_forbidden() -> None:
    assert code("file://server/share/a.png") == CODES.FORBIDDEN
    assert "hunter2" not in failure("file://me:hunter2@server/a.png").detail


@pytest.mark.parametrize("climb", ["..", "%2e%2e", "%2E.", "sub/..%2f.."])
def test_no_file_uri_leaves_the_root(folder: Path, climb: str) -> None:
    assert code(f"{folder.as_uri()}/{climb}/secret", Access(str(folder))) == CODES.FORBIDDEN


# Filesystem URIs


def test_a_scheme_that_is_not_allowed_is_forbidden_and_the_message_says_how_to_allow_it() -> None:
    for location in ("s3://bucket/a.png", "https://host/a.png", "memory://bucket/a.png", "nonsense://a/b"):
        error = failure(location)
        assert error.code == CODES.FORBIDDEN
        assert f'allow=("{location.partition(":")[0]}",)' in error.detail


def test_an_allowed_scheme_is_read_through_fsspec(memory) -> None:
    assert read("memory://bucket/images/a.png", Access(allow=("memory",))) == b"a"
    assert read("MEMORY://bucket/images/../images/a.png", Access(allow=("Memory",))) == b"a"


def test_relative_cells_start_from_a_root_that_is_a_uri_and_its_scheme_is_allowed(memory) -> None:
    for root in ("memory://bucket/images", "memory://bucket/images/"):
        assert read("a.png", Access(root)) == b"a"
        assert read("sub/../sub/./b.png", Access(root)) == b"b"
        assert read("memory://bucket/images/a.png", Access(root)) == b"a"
    assert read("images/a.png", Access("memory://bucket")) == b"a"
    assert read("a.png", Access("memory://bucket/x/../images/./")) == b"a"


@pytest.mark.parametrize(
    "root", ["memory://bucket/../other", "simplecache::memory://bucket", "zip://x", "file://host/x"]
)
def test_nothing_is_inside_an_impossible_root(memory, root: str) -> None:
    assert code("images/a.png", Access(root, allow=("memory",))) == CODES.FORBIDDEN


@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "sub/../../secret",
        "../images-sibling/a.png",
        "../../other/images/a.png",
        "memory://bucket/secret",
        "memory://bucket/images/../secret",
        "memory://bucket/images-sibling/a.png",
        "memory://other/images/a.png",
        "memory:///bucket/secret",
        "memory:////bucket/secret",
        "%2e%2e/secret",
        "%252e%252e/secret",
        "..\\secret",
        "sub/..%5c..%5csecret",
        "/bucket/images/a.png",
        "//bucket/secret",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://",
    ],
)
def test_nothing_leaves_a_root_that_is_a_uri(memory, location: str) -> None:
    assert code(location, Access("memory://bucket/images", allow=("memory", "file"))) == CODES.FORBIDDEN


def test_no_uri_climbs_above_its_authority(memory) -> None:
    assert code("memory://bucket/../other/images/a.png", Access(allow=("memory",))) == CODES.FORBIDDEN


@pytest.mark.parametrize(
    ("root", "location"),
    [
        ("s3://bucket/images", "s3a://bucket/secret"),
        ("gs://bucket/images", "gcs://bucket/secret"),
        ("abfs://c@a/images", "abfss://c@a/secret"),
        ("https://host/images", "http://host/secret"),
    ],
)
def test_another_name_of_the_roots_scheme_does_not_lead_out_of_the_root(root: str, location: str) -> None:
    assert code(location, Access(root, allow=(location.partition(":")[0],))) == CODES.FORBIDDEN


def test_with_a_root_another_scheme_is_read_only_if_it_is_allowed(memory, folder: Path) -> None:
    assert read("memory://bucket/images/a.png", Access(str(folder), allow=("memory",))) == b"a"
    assert code("memory://bucket/images/a.png", Access(str(folder))) == CODES.FORBIDDEN


@pytest.mark.parametrize(
    "location",
    [
        "simplecache::memory://bucket/images/a.png",
        "simplecache://bucket/images/a.png",
        "filecache::file:///etc/passwd",
        "zip://passwd::file:///etc/passwd.zip",
        "zip://a.png",
        "tar://a::memory://bucket/a.tar",
        "memory://bucket/images::file:///etc/passwd",
        "reference://x",
        "blockcache://x/y",
        "dir://etc/passwd",
        "local:///etc/passwd",
        "local://etc/passwd",
        "git://etc:main@/passwd",
        "generic://file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("root", [None, "memory://bucket", "/nowhere"])
def test_schemes_that_wrap_others_and_chained_urls_are_forbidden_even_if_allowed(
    location: str, root: str | None
) -> None:
    schemes = ("simplecache", "filecache", "blockcache", "zip", "tar", "memory", "reference", "dir", "local", "git")
    assert code(location, Access(root, allow=(*schemes, "generic", "file"))) == CODES.FORBIDDEN


def test_a_scheme_that_someone_registered_for_the_local_disk_is_forbidden(folder: Path) -> None:
    from fsspec.implementations.local import LocalFileSystem

    fsspec.register_implementation("disk-by-another-name", LocalFileSystem, clobber=True)
    assert code(f"disk-by-another-name://{folder}/face.png", Access(allow=("disk-by-another-name",))) == "forbidden"


def test_uris_have_the_same_codes_as_paths(memory) -> None:
    access = Access("memory://bucket")
    assert code("no.png", access) == CODES.NOT_FOUND
    assert code("secret", access, max_bytes=5) == CODES.TOO_LARGE
    assert code("images", access) in (CODES.UNREADABLE, CODES.NOT_FOUND)
    assert read("secret", Access("memory://bucket"), max_bytes=6) == b"secret"


def test_a_missing_package_is_named() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "paramiko", None)
        patch.delitem(sys.modules, "fsspec.implementations.sftp", raising=False)
        error = failure("sftp://host/a.png", Access(allow=("sftp",)))
    assert error.code == CODES.UNREADABLE
    assert "paramiko" in error.detail


def test_an_unknown_scheme_is_unreadable() -> None:
    assert "nonsense" in failure("nonsense://a/b", Access(allow=("nonsense",))).detail


def test_an_exception_of_any_client_becomes_one_redacted_line(memory, monkeypatch) -> None:
    def fail(*_, **__):
        raise RuntimeError("GET https://user:hunter2@host/a?sig=hunter2 failed\nAuthorization: hunter2")

    module.open_bucket.cache_clear()
    monkeypatch.setattr(type(memory), "open", fail)
    detail = failure("a.png", Access("memory://bucket")).detail
    monkeypatch.undo()
    module.open_bucket.cache_clear()
    assert "hunter2" not in detail
    assert "RuntimeError" in detail


def test_one_filesystem_serves_all_threads_and_rows(memory) -> None:
    module.open_bucket.cache_clear()
    access = Access("memory://bucket/images")
    workers = [threading.Thread(target=read, args=("a.png", access)) for _ in range(8)]
    read("a.png", access)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert module.open_bucket.cache_info().misses == 1


def test_a_key_of_a_store_is_literal_and_options_come_from_the_root_alone(monkeypatch, tmp_path: Path) -> None:
    from pyarrow import fs

    asked: list[str] = []

    def from_uri(uri: str):
        asked.append(uri)
        return fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "bucket"

    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a%20b?endpoint_override=evil").write_bytes(b"literal")
    module.open_bucket.cache_clear()
    monkeypatch.setattr(fs, "FileSystem", type("FileSystem", (), {"from_uri": staticmethod(from_uri)}))
    key = "a%20b?endpoint_override=evil"
    assert read(key, Access("s3://bucket?region=eu-west-1")) == b"literal"
    assert read(f"s3a://bucket/{key}", Access(allow=("s3a",))) == b"literal"
    assert code(f"s3://bucket/{key}", Access(allow=("s3",)), max_bytes=3) == CODES.TOO_LARGE
    assert code("s3://bucket/gone", Access(allow=("s3",))) == CODES.NOT_FOUND
    module.open_bucket.cache_clear()
    assert asked == ["s3://bucket/?region=eu-west-1", "s3://bucket/"] + ["s3://bucket/"] * (len(asked) - 2)


def test_arrow_opens_the_schemes_that_it_knows() -> None:
    module.open_bucket.cache_clear()
    opened, base = module.open_bucket("s3", "bucket", "region=eu-west-1&endpoint_override=127.0.0.1:9", os.getpid())
    assert base == "bucket"
    assert "S3FileSystem" in repr(opened)
    module.open_bucket.cache_clear()


@settings(max_examples=300, deadline=None)
@given(st.text("./\\%2eEfF5cC?#:@ab", max_size=30), st.sampled_from(["memory", "s3", "https"]))
def test_no_uri_of_any_characters_points_outside_the_root(cell: str, scheme: str) -> None:
    root = f"{scheme}://host/images"
    for location in (cell, f"{root}/{cell}", f"{root}{cell}"):
        try:
            target = locate(location, Access(root, allow=(scheme,)))
        except RowError:
            continue
        assert isinstance(target, Uri)
        assert (target.scheme, target.authority) == (scheme, "host")
        assert f"{target.path}/".startswith("images/")
        assert not {"..", "."} & set(target.path.split("/"))


# Redaction


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://h/a.png?X-Amz-Signature=abc", "https://h/a.png?…"),
        ("https://h/a.png#token", "https://h/a.png#…"),
        ("https://user:pw@h:8080/a.png", "https://…@h:8080/a.png"),
        ("s3://KEY:SECRET@bucket/a.png", "s3://…@bucket/a.png"),
        ("s3://KEY:SEC/RET@bucket/a.png", "s3://…"),
        ("https://user:p?w@h/a", "https://…"),
        ("hf://datasets/org/name@main/a.png", "hf://datasets/org/name@main/a.png"),
        ("simplecache::s3://KEY:SECRET@bucket/a", "simplecache::s3://…@bucket/a"),
        (" https://user:pw@h/a", " https://…@h/a"),
        ("zip://a::https://user:pw@h/a?sig", "zip://…"),
        ("a.png?X-Amz-Signature=abc", "a.png?…"),
        ("images/face #1.png", "images/face #1.png"),
        ("https://[::1]:80/a", "https://[::1]:80/a"),
        ("", ""),
    ],
)
def test_no_credential_and_no_query_is_shown(location: str, shown: str) -> None:
    assert redact(location) == shown


def test_a_long_location_is_shortened_in_the_middle() -> None:
    shown = redact("start" + "x" * 10_000 + "end.png")
    assert len(shown) == 120
    assert (shown[:5], shown[-7:]) == ("start", "end.png")


@settings(max_examples=200, deadline=None)
@given(st.text(string.ascii_letters + ":.", max_size=10), st.text("ab/.:@#", max_size=10))
def test_no_error_shows_a_signature(host: str, path: str) -> None:
    location = f"https://{host}/{path}?sig=HUNTER2#HUNTER2"
    for text in (location, location.replace("//", "//me:HUNTER2@", 1), location.replace("//", "//me:HUNTER2/@", 1)):
        assert "HUNTER2" not in failure(text).detail


@pytest.mark.parametrize("part", ["%25", "a://", "../", "@", "s3://:", "data:image/png;base64,", "x/"])
def test_a_cell_as_large_as_an_image_is_refused_quickly_and_the_message_says_what_to_do(part: str) -> None:
    began = time.process_time()
    error = failure(part * (2**20 // len(part)), Access("memory://bucket", allow=("s3", "a")))
    assert (error.code, "binary" in error.detail) == (CODES.UNREADABLE, True)
    failure(part * (2**14 // len(part)), Access("memory://bucket", allow=("s3", "a")))
    assert time.process_time() - began < 2


# The module itself


def test_access_and_its_errors_can_be_pickled() -> None:
    access = Access("s3://bucket", ("s3",), ("host",))
    assert pickle.loads(pickle.dumps(access)) == access
    assert hash(access) == hash(pickle.loads(pickle.dumps(access)))
    error = pickle.loads(pickle.dumps(failure("")))
    assert error.code == CODES.MISSING


def test_importing_fetch_loads_neither_filesystems_nor_tls() -> None:
    heavy = "{'pyarrow', 'fsspec', 'ssl', 'http.client'}"
    program = f"import sys, emotion_ops.io.fetch; sys.exit(str({heavy} & sys.modules.keys() or '') or 0)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_identity_of_access_does_not_contain_secrets_of_its_root() -> None:
    assert Access("s3://me:HUNTER2@bucket/images?session_token=HUNTER2", ["s3"], "host").identity() == {
        "root": "s3://…@bucket/images?…"
    }
    assert Access(Path("folder?")).identity() == {"root": "folder?"}
    assert Access().identity() == {"root": None}
