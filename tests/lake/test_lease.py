"""A lease survives a store that fails for a while, and leases of runs that ended do not block other runs."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from emotion_ops.errors import DestinationBusyError
from emotion_ops.lake import lease as module
from emotion_ops.lake.lease import LEASES, STALE_AFTER, Lease, find_leases, hold_lease
from emotion_ops.lake.targets.folder import Folder


class Failing(MemoryFileSystem):
    """A store whose operations raise an error while there is one, and that counts its uploads."""

    protocol = "failing"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    error: ClassVar[Exception | None] = None
    failures: ClassVar[dict[str, int]] = {}
    uploads: ClassVar[int] = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("failing:/"))

    def _fail(self, operation: str) -> None:
        if (error := Failing.error) is not None:
            Failing.failures[operation] = Failing.failures.get(operation, 0) + 1
            raise error

    def find(self, *arguments: Any, **options: Any) -> Any:
        self._fail("find")
        return super().find(*arguments, **options)

    def _open(self, *arguments: Any, **options: Any) -> Any:
        self._fail("open")
        return super()._open(*arguments, **options)

    def rm_file(self, *arguments: Any, **options: Any) -> Any:
        self._fail("delete")
        return super().rm_file(*arguments, **options)

    def put_file(self, *arguments: Any, **options: Any) -> Any:
        self._fail("put")
        Failing.uploads += 1
        return super().put_file(*arguments, **options)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    fsspec.register_implementation("failing", Failing, clobber=True)
    monkeypatch.setattr(module, "RENEW_EVERY", 0.02)
    monkeypatch.setattr(module, "RETRY_EVERY", 0.02)
    monkeypatch.setattr(Failing, "store", {})
    monkeypatch.setattr(Failing, "failures", {})
    yield Folder("failing://lake/out")
    Failing.error = None


def wait_until(condition: Any) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition did not become true")


@pytest.mark.parametrize(
    "error",
    [
        OSError("connection reset"),
        PermissionError("token expired"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "a name"),
        RuntimeError("a client's own error"),
    ],
    ids=["io", "permission", "names", "client"],
)
def test_renewal_continues_after_a_store_that_failed(
    error: Exception, store: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "emotion_ops"), hold_lease(store, "") as held:
        wait_until(lambda: Failing.uploads > 2)
        Failing.error = error
        wait_until(lambda: Failing.failures.get("find", 0) > 3)  # listings fail, and the thread tries again
        Failing.error = None
        renewed = Failing.uploads
        wait_until(lambda: Failing.uploads > renewed + 2)
        held.check()
    assert sum("the lease could not be renewed" in record.getMessage() for record in caplog.records) >= 1
    assert find_leases(store) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "emotion-ops-lease"]


def test_a_run_whose_renewal_failed_for_too_long_notices_the_run_that_followed(store: Folder) -> None:
    with hold_lease(store, "") as held:
        Failing.error = OSError("unreachable")
        wait_until(lambda: Failing.failures)
        key = f"/lake/out/{LEASES}/000002.json"
        other = replace(Lease.create(""), machine="elsewhere", process=1)
        Failing.error = None
        fsspec.filesystem("failing").pipe_file(key, json.dumps(asdict(other)).encode())
        with pytest.raises(DestinationBusyError, match="another run took over"):
            held.check()
    assert [found.number for found in find_leases(store)] == [1, 2]  # the lost lease is the successor's to remove


def test_a_lease_that_cannot_be_removed_does_not_fail_the_run_nor_block_the_next_one(store: Folder) -> None:
    with hold_lease(store, ""):
        Failing.error = RuntimeError("token expired")
    assert Failing.failures["delete"] == 1
    Failing.error = None
    [left] = find_leases(store)
    assert not left.living  # its run ended in this process
    with hold_lease(store, ""):
        pass
    assert find_leases(store) == []


def test_a_dead_lease_with_a_time_in_the_future_is_not_in_the_way(tmp_path: Path) -> None:
    folder, home = Folder(str(tmp_path)), tmp_path / LEASES
    home.mkdir(parents=True)
    path = home / "000001.json"
    path.write_text(json.dumps(asdict(replace(Lease.create(""), machine="elsewhere/boot/namespace"))))
    with pytest.raises(DestinationBusyError), hold_lease(folder, ""):
        pass
    future = time.time() + 10 * STALE_AFTER
    os.utime(path, (future, future))
    assert not find_leases(folder)[0].living
    with hold_lease(folder, ""):
        pass
    assert find_leases(folder) == []
