"""Folders of object stores: files appear complete, one scheme table opens them, and every error is an OSError."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from emotion_ops.io.filesystems import is_arrow
from emotion_ops.io.stores import ObjectStore, open_store


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    memory = fsspec.filesystem("memory")
    memory.makedirs("/bucket", exist_ok=True)
    yield open_store("fsspec+memory://bucket/folder")
    memory.rm("/bucket", recursive=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"content")
    return tmp_path / "file"


def test_an_uploaded_file_is_listed_read_and_deleted(store: ObjectStore, file: Path) -> None:
    store.put(file, "a/b.bin", new=False)
    [entry] = store.entries()
    assert (entry.key, entry.size) == ("a/b.bin", 7)
    assert store.entry("a/b.bin") == entry
    assert store.open("a/b.bin").read() == b"content"
    assert store.modified("a/b.bin") is not None
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    store.delete_folder("a")
    assert (store.entry("a/b.bin"), store.modified("a/b.bin"), list(store.entries())) == (None, None, [])


def test_a_new_file_does_not_replace_another_and_may_be_uploaded_twice(store: ObjectStore, file: Path) -> None:
    store.put(file, "key", new=True)
    store.put(file, "key", new=True)  # the same bytes: an upload whose response was lost
    file.write_bytes(b"changed")
    with pytest.raises(FileExistsError):
        store.put(file, "key", new=True)
    assert store.open("key").read() == b"content"
    store.put(file, "key", new=False)
    assert store.open("key").read() == b"changed"


def test_the_errors_of_any_client_are_os_errors(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the client's own")

    for name in ("find", "info", "isdir", "open", "rm_file", "rm"):
        monkeypatch.setattr(fsspec.get_filesystem_class("memory"), name, fail)
    calls = (lambda: list(store.entries()), lambda: store.entry("a"), store.is_folder, lambda: store.open("a"),
             lambda: store.delete("a"), lambda: store.delete_folder("a"))  # fmt: skip
    for call in calls:
        with pytest.raises(OSError, match="RuntimeError: the client's own"):
            call()
    monkeypatch.undo()


def test_all_uris_of_one_folder_have_one_identity(tmp_path: Path) -> None:
    identities = {open_store(uri).identity(uri) for uri in ("memory://bucket/x", "fsspec+memory://bucket/y/../x/")}
    assert identities == {"memory://bucket/x"}
    for uri in (f"fsspec+file://{tmp_path}", f"fsspec+local://{tmp_path}/."):
        assert open_store(uri).identity(uri) == str(tmp_path.resolve())
    with_secret = "s3://key:secret@bucket/folder?region=eu-west-1"
    assert open_store(with_secret).identity(with_secret) == "s3://bucket/folder"


def test_arrow_opens_its_own_schemes_and_fsspec_all_others_and_those_with_the_prefix() -> None:
    assert all(map(is_arrow, ("s3://a", "s3a://a", "gs://a", "abfss://a", "hdfs://a")))
    assert not any(map(is_arrow, ("memory://a", "sftp://a", "fsspec+s3://a", "az://a")))
